"""The conformance kit's checks, for the GPT-NeoX family."""

from transept_testing import CausalLMConformance, ConfigConformance

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
}


class TestGPTNeoXConfig(ConfigConformance):
    model_type = "gpt_neox"
    tiny = TINY
    peer = "GPTNeoX"
    variants = {  # noqa: RUF012
        "older names": {"rotary_pct": 0.5, "rotary_emb_base": 25000},
        "labels": {"num_labels": 3, "eos_token_id": [1, 2]},
        "one after the other": {"use_parallel_residual": False, "attention_bias": False, "tie_word_embeddings": True},
        "stretched": {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e6}},
        "all rotated": {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0}},
    }
    wrong = (
        {"hidden_size": 30},
        {"vocab_size": 0},
        {"num_hidden_layers": -1},
        {"rotary_pct": 1.5},
        {"rotary_emb_base": 0},
        {"hidden_dropout": 1.1},
        {"hidden_act": None},
    )


class TestGPTNeoX(CausalLMConformance):
    model_type = "gpt_neox"
    tiny = TINY
    peer = "GPTNeoX"
    variants = {  # noqa: RUF012
        "one after the other": {"use_parallel_residual": False, "tie_word_embeddings": True},
        "half rotated, no biases": {"rotary_pct": 0.5, "attention_bias": False, "hidden_act": "gelu_new"},
        "all of one wide head": {"num_attention_heads": 1, "rotary_pct": 1.0},
    }

    golden = {  # noqa: RUF012
        "base": -0.337159,
        "causal_lm": -1.230482,
        "sequence_classification": 0.374758,
        "token_classification": -0.91037,
        "question_answering": -0.45911,
    }

    def inputs(self, case, **changes):
        # the established signatures have token types, and nothing reads them
        return {name: value for name, value in super().inputs(case, **changes).items() if name != "token_type_ids"}
