"""The conformance kit's checks, for the BERT family: as an encoder with its heads, and as a decoder."""

from transept_testing import CausalLMConformance, ConfigConformance, ModelConformance

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}


class TestBertConfig(ConfigConformance):
    model_type = "bert"
    tiny = TINY
    peer = "Bert"
    variants = {  # noqa: RUF012
        "decoder": {"is_decoder": True, "add_cross_attention": True, "bos_token_id": 1, "eos_token_id": [2, 3]},
        "labels": {"num_labels": 3, "problem_type": "multi_label_classification", "classifier_dropout": 0.3},
    }
    wrong = (
        {"hidden_size": 30},
        {"add_cross_attention": True},
        {"pad_token_id": 97},
        {"vocab_size": 0},
        {"type_vocab_size": 0},
        {"num_hidden_layers": -1},
        {"hidden_dropout_prob": 1.5},
        {"hidden_act": None},
    )


class TestBert(ModelConformance):
    model_type = "bert"
    tiny = TINY
    peer = "Bert"
    position_table = "max_position_embeddings"
    heads = (
        "base",
        "pretraining",
        "masked_lm",
        "next_sentence_prediction",
        "sequence_classification",
        "token_classification",
        "question_answering",
        "multiple_choice",
    )
    variants = {  # noqa: RUF012
        "untied": {"tie_word_embeddings": False, "hidden_act": "gelu_new", "type_vocab_size": 3},
    }

    golden = {  # noqa: RUF012
        "base": 0.350808,
        "pretraining": -0.597196,
        "masked_lm": -0.238519,
        "next_sentence_prediction": -0.064494,
        "sequence_classification": -0.126285,
        "token_classification": -0.204292,
        "question_answering": -0.4874,
        "multiple_choice": 0.097196,
    }

    def unused(self, case, parameter):
        # a head of its own has its bias in `decoder.bias`
        return case.variant == "untied" and parameter == "cls.predictions.bias"


class TestBertDecoder(CausalLMConformance):
    model_type = "bert"
    tiny = {**TINY, "is_decoder": True}  # noqa: RUF012
    peer = "Bert"
    position_table = "max_position_embeddings"
    padding_sides = ("right",)
    supports_cross_attention = True
    heads = ("base", "causal_lm")
    variants = {"chunked feed-forward": {"chunk_size_feed_forward": 1}}  # noqa: RUF012
    golden = {"base": 1.351557, "causal_lm": -0.0407}  # noqa: RUF012
