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
    variants = {  # noqa: RUF012
        "labels": {"num_labels": 3},
        "many ends": {"eos_token_id": [1, 2], "bos_token_id": None},
        "ties and biases": {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 32},
        "stretched": {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e6}},
    }
    wrong = (
        {"hidden_size": 30},
        {"num_key_value_heads": 3},
        {"num_key_value_heads": 8},
        {"vocab_size": 0},
        {"num_hidden_layers": -1},
        {"attention_dropout": 1.1},
        {"hidden_act": None},
        {"pad_token_id": 97},
    )


class TestLlama(CausalLMConformance):
    model_type = "llama"
    tiny = TINY
    peer = "Llama"
    variants = {  # noqa: RUF012
        "tied": {"tie_word_embeddings": True},
        "every head its own keys": {"num_key_value_heads": 4},
        "heads wider than the stream": {"head_dim": 20},
        "biases": {"attention_bias": True, "mlp_bias": True},
        "stretched": {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}},
    }
    golden = {  # noqa: RUF012
        "base": 0.608327,
        "causal_lm": 0.849257,
        "sequence_classification": -0.060618,
        "token_classification": -0.079565,
        "question_answering": -0.631056,
    }
