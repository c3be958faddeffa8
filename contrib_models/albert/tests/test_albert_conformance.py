"""The conformance kit's checks, for the ALBERT family."""

from transept_testing import ConfigConformance, ModelConformance

TINY = {
    "vocab_size": 97,
    "embedding_size": 24,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_hidden_groups": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}


class TestAlbertConfig(ConfigConformance):
    model_type = "albert"
    tiny = TINY
    peer = "Albert"
    variants = {  # noqa: RUF012
        "labels": {"num_labels": 3, "problem_type": "multi_label_classification", "classifier_dropout_prob": 0.3},
        "groups": {"num_hidden_groups": 3, "inner_group_num": 2, "eos_token_id": [2, 3]},
    }
    wrong = (
        {"hidden_size": 30},
        {"pad_token_id": 97},
        {"vocab_size": 0},
        {"type_vocab_size": 0},
        {"num_hidden_groups": 4},
        {"num_hidden_groups": 0},
        {"inner_group_num": 0},
        {"hidden_dropout_prob": 1.5},
        {"hidden_act": None},
    )


class TestAlbert(ModelConformance):
    model_type = "albert"
    tiny = TINY
    peer = "Albert"
    position_table = "max_position_embeddings"
    heads = (
        "base",
        "pretraining",
        "masked_lm",
        "sequence_classification",
        "token_classification",
        "question_answering",
        "multiple_choice",
    )
    variants = {  # noqa: RUF012
        "untied": {"tie_word_embeddings": False, "hidden_act": "gelu", "type_vocab_size": 3, "num_hidden_groups": 1},
        "layers within groups": {"num_hidden_groups": 3, "inner_group_num": 2, "chunk_size_feed_forward": 1},
        "embeddings as wide as the layers": {"embedding_size": 32, "num_attention_heads": 1},
    }
    golden = {  # noqa: RUF012
        "base": 1.073894,
        "pretraining": -0.761193,
        "masked_lm": -0.27954,
        "sequence_classification": 0.335008,
        "token_classification": -0.301074,
        "question_answering": -0.633428,
        "multiple_choice": -0.383198,
    }
    labels_of = {**ModelConformance.labels_of, "sop_logits": "sentence_order_label"}  # noqa: RUF012

    def unused(self, case, parameter):
        # a head of its own has its bias in `decoder.bias`
        return case.variant == "untied" and parameter == "predictions.bias"

    def layers(self, case, output):
        # every layer of every pass
        config = self.config(case)
        return config.num_hidden_layers * config.inner_group_num
