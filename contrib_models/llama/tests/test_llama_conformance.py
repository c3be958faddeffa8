"""The conformance kit's checks, for the Llama family."""

from transept_testing import CausalLMConformance, ConfigConformance

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


class TestLlamaConfig(ConfigConformance):
    model_type = "llama"
    tiny = TINY
    peer = "Llama"


class TestLlama(CausalLMConformance):
    model_type = "llama"
    tiny = TINY
    peer = "Llama"
    variants = {  # noqa: RUF012
        "tied": {"tie_word_embeddings": True},
        "every head its own keys": {"num_key_value_heads": 4},
        "heads wider than the stream": {"head_dim": 20},
        "biases": {"attention_bias": True, "mlp_bias": True},
    }
