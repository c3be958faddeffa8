"""The conformance kit's checks, for the Gemma 2 family: the first layer's window is shorter than the kit's inputs of nine tokens."""

from transept_testing import CausalLMConformance, ConfigConformance, SlidingWindowConformance

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "query_pre_attn_scalar": 10,
    "sliding_window": 4,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 1.5,
    "pad_token_id": 0,
}


class TestGemma2Config(ConfigConformance):
    model_type = "gemma2"
    tiny = TINY
    peer = "Gemma2"
    variants = {  # noqa: RUF012
        "no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
        "no window": {"layer_types": ["full_attention"] * 2, "sliding_window": None},
        "labels": {"num_labels": 3, "eos_token_id": [1, 107]},
        "encoder": {"use_bidirectional_attention": True, "attention_bias": True, "tie_word_embeddings": False},
        "stretched": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6}},
    }
    wrong = (
        {"hidden_size": 30},
        {"num_key_value_heads": 3},
        {"sliding_window": None},
        {"layer_types": ["full_attention"]},
        {"layer_types": ["chunked_attention"] * 2},
        {"attn_logit_softcapping": 0.0},
        {"final_logit_softcapping": -1.0},
        {"query_pre_attn_scalar": 0},
        {"attention_dropout": 1.1},
        {"pad_token_id": 97},
    )


class TestGemma2(CausalLMConformance):
    model_type = "gemma2"
    tiny = TINY
    peer = "Gemma2"
    variants = {  # noqa: RUF012
        "head of its own": {"tie_word_embeddings": False, "num_key_value_heads": 1, "attention_bias": True},
        "no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None, "sliding_window": 9},
        "every layer slides": {"layer_types": ["sliding_attention"] * 2, "sliding_window": 8},
    }
    golden = {  # noqa: RUF012
        "base": 0.464469,
        "causal_lm": 0.350072,
        "sequence_classification": 0.727909,
        "token_classification": 1.035355,
    }


class TestGemma2Windows(SlidingWindowConformance):
    model_type = "gemma2"
    tiny = TINY
    peer = "Gemma2"
