"""The conformance kit's checks, for the Qwen3 family: the last layer's window is shorter than the kit's inputs of nine tokens."""

from transept_testing import CausalLMConformance, ConfigConformance, SlidingWindowConformance

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "use_sliding_window": True,
    "sliding_window": 4,
    "max_window_layers": 2,
    "pad_token_id": 0,
}
SLIDING = ["sliding_attention"] * 3
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]


class TestQwen3Config(ConfigConformance):
    model_type = "qwen3"
    tiny = TINY
    peer = "Qwen3"
    variants = {  # noqa: RUF012
        "no window": {"use_sliding_window": False},
        "mixed layers": {"layer_types": MIXED},
        "labels": {"num_labels": 3, "eos_token_id": [1, 2], "bos_token_id": 1},
        "every head its own keys": {"num_key_value_heads": None},
        "biases": {"attention_bias": True, "head_dim": 12},
        "stretched": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
    }
    wrong = (
        {"head_dim": 0},
        {"num_key_value_heads": 3},
        {"sliding_window": 0},
        {"layer_types": SLIDING[:2]},
        {"layer_types": ["chunked_attention"] * 3},
        {"layer_types": SLIDING, "use_sliding_window": False},
        {"max_window_layers": -1},
        {"attention_dropout": 1.1},
        {"pad_token_id": 97},
    )


class TestQwen3(CausalLMConformance):
    model_type = "qwen3"
    tiny = TINY
    peer = "Qwen3"
    variants = {  # noqa: RUF012
        "tied": {"tie_word_embeddings": True, "num_key_value_heads": 1},
        "heads wider than the stream": {"head_dim": 20, "attention_bias": True, "layer_types": MIXED},
        "no window": {"use_sliding_window": False},
    }
    golden = {  # noqa: RUF012
        "base": 0.117593,
        "causal_lm": -0.770986,
        "sequence_classification": -0.868978,
        "token_classification": -0.1043,
        "question_answering": -0.008736,
    }


class TestQwen3Windows(SlidingWindowConformance):
    model_type = "qwen3"
    tiny = TINY
    peer = "Qwen3"
