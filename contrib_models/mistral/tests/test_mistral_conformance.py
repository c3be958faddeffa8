"""The conformance kit's checks, for the Mistral family: the window is shorter than the kit's inputs of nine tokens."""

from transept_testing import CausalLMConformance, ConfigConformance, SlidingWindowConformance

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "sliding_window": 4,
    "pad_token_id": 0,
}


class TestMistralConfig(ConfigConformance):
    model_type = "mistral"
    tiny = TINY
    peer = "Mistral"
    variants = {  # noqa: RUF012
        "no window": {"sliding_window": None},
        "labels": {"num_labels": 3, "eos_token_id": [1, 2]},
        "heads of their own": {"head_dim": 20},
        "stretched": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6}},
    }
    wrong = (
        {"hidden_size": 30},
        {"num_key_value_heads": 3},
        {"sliding_window": 0},
        {"vocab_size": 0},
        {"attention_dropout": 1.1},
        {"hidden_act": None},
        {"pad_token_id": 97},
    )


class TestMistral(CausalLMConformance):
    model_type = "mistral"
    tiny = TINY
    peer = "Mistral"
    variants = {  # noqa: RUF012
        "tied": {"tie_word_embeddings": True, "num_key_value_heads": 1},
        "heads wider than the stream": {"head_dim": 20, "sliding_window": 9},
        "no window": {"sliding_window": None},
    }
    golden = {  # noqa: RUF012
        "base": 0.238767,
        "causal_lm": 0.539128,
        "sequence_classification": 0.499767,
        "token_classification": -0.049192,
        "question_answering": 0.449901,
    }


class TestMistralWindows(SlidingWindowConformance):
    model_type = "mistral"
    tiny = TINY
    peer = "Mistral"
