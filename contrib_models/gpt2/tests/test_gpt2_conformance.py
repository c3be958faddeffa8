"""The conformance kit's checks, for the GPT-2 family."""

from transept_testing import CausalLMConformance, ConfigConformance, ModelConformance

TINY = {
    "vocab_size": 97,
    "n_positions": 40,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


class TestGPT2Config(ConfigConformance):
    model_type = "gpt2"
    tiny = TINY
    peer = "GPT2"
    variants = {  # noqa: RUF012
        "options": {"n_inner": 48, "activation_function": "relu", "scale_attn_weights": False, "reorder_and_upcast_attn": True},
        "decoder": {"add_cross_attention": True, "eos_token_id": [2, 3], "scale_attn_by_inverse_layer_idx": True},
        "labels": {"num_labels": 3, "summary_type": "mean", "summary_activation": "tanh", "summary_use_proj": False},
        "dropout": {"resid_pdrop": 0, "embd_pdrop": 0.5, "attn_pdrop": 1.0, "summary_first_dropout": 0.0},
    }
    wrong = (
        {"n_embd": 30},
        {"hidden_size": 30},
        {"n_head": 0},
        {"n_layer": -1},
        {"n_positions": 0},
        {"n_inner": 0},
        {"attn_pdrop": 1.5},
        {"activation_function": None},
        {"scale_attn_weights": "no"},
    )


OPTIONS = {
    "scaled by layer": {
        "scale_attn_by_inverse_layer_idx": True,
        "scale_attn_weights": False,
        "reorder_and_upcast_attn": True,
        "tie_word_embeddings": False,
        "n_inner": 48,
        "activation_function": "relu",
    }
}


class TestGPT2(CausalLMConformance):
    model_type = "gpt2"
    tiny = TINY
    peer = "GPT2"
    position_table = "n_positions"
    supports_cross_attention = True
    heads = ("base", "causal_lm", "sequence_classification", "token_classification", "question_answering")
    variants = OPTIONS
    golden = {  # noqa: RUF012
        "base": -1.181725,
        "causal_lm": -0.436205,
        "sequence_classification": -0.094484,
        "token_classification": -0.348667,
        "question_answering": -0.460328,
    }


class TestGPT2DoubleHeads(ModelConformance):
    """The peer takes no positions of choices, so no padding on the left can be compared."""

    model_type = "gpt2"
    tiny = TINY
    peer = "GPT2"
    position_table = "n_positions"
    heads = ("double_heads",)
    golden = {"double_heads": -0.608446}  # noqa: RUF012
    variants = {**OPTIONS, "wide summary": {"summary_activation": "tanh", "summary_proj_to_labels": False}}  # noqa: RUF012

    xfails = {  # noqa: RUF012
        "test_hidden_states_of_every_layer": "as the peer's, the last is (batch, choices, seq, n_embd), and the others are rows",
    }

    def unused(self, case, parameter):
        # it has a loss of its own
        return parameter.startswith("multiple_choice_head")
