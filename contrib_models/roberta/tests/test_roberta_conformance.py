"""The conformance kit's checks, for the RoBERTa family: as an encoder with its heads, and as a decoder."""

from transept_testing import CausalLMConformance, ConfigConformance, ModelConformance

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}


class TestRobertaConfig(ConfigConformance):
    model_type = "roberta"
    tiny = TINY
    peer = "Roberta"
    variants = {  # noqa: RUF012
        "decoder": {"is_decoder": True, "add_cross_attention": True, "eos_token_id": [2, 3]},
        "labels": {"num_labels": 3, "problem_type": "multi_label_classification", "classifier_dropout": 0.3},
    }
    wrong = (
        {"hidden_size": 30},
        {"add_cross_attention": True},
        {"pad_token_id": 97},
        {"pad_token_id": None},
        {"max_position_embeddings": 2},
        {"vocab_size": 0},
        {"type_vocab_size": 0},
        {"num_hidden_layers": -1},
        {"hidden_dropout_prob": 1.5},
        {"hidden_act": None},
    )


class TestRoberta(ModelConformance):
    model_type = "roberta"
    tiny = TINY
    peer = "Roberta"
    position_table = "max_position_embeddings"
    first_position = 2
    heads = (
        "base",
        "masked_lm",
        "sequence_classification",
        "token_classification",
        "question_answering",
        "multiple_choice",
    )
    variants = {  # noqa: RUF012
        "untied": {"tie_word_embeddings": False, "hidden_act": "gelu_new", "type_vocab_size": 1},
        "another padding token": {"pad_token_id": 5, "num_attention_heads": 1, "layer_norm_eps": 1e-5},
    }
    golden = {  # noqa: RUF012
        "base": 1.01992,
        "masked_lm": -0.240558,
        "sequence_classification": 0.447569,
        "token_classification": 0.009102,
        "question_answering": -0.103991,
        "multiple_choice": -0.220406,
    }

    def unused(self, case, parameter):
        # a head of its own has its bias in `decoder.bias`
        return case.variant == "untied" and parameter == "lm_head.bias"


class TestRobertaDecoder(CausalLMConformance):
    model_type = "roberta"
    tiny = {**TINY, "is_decoder": True}  # noqa: RUF012
    peer = "Roberta"
    position_table = "max_position_embeddings"
    first_position = 2
    padding_sides = ("right",)  # ids say where padding is, and these checks put others there: see test_roberta_positions
    supports_cross_attention = True
    heads = ("base", "causal_lm")
    variants = {"chunked feed-forward": {"chunk_size_feed_forward": 1}}  # noqa: RUF012
    golden = {"base": 1.496419, "causal_lm": -0.004072}  # noqa: RUF012
    xfails = {  # noqa: RUF012
        f"test_text_is_the_peers[{case}]": "the peer generates with positions from 0, which its own forward counts from 2"
        for case in ("causal_lm", "causal_lm-chunked feed-forward")
    }
