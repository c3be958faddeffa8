"""The conformance kit's checks, for the DistilBERT family."""

from transept_testing import ConfigConformance, ModelConformance

TINY = {
    "vocab_size": 97,
    "dim": 32,
    "hidden_dim": 56,
    "n_layers": 2,
    "n_heads": 4,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}


class TestDistilBertConfig(ConfigConformance):
    model_type = "distilbert"
    tiny = TINY
    peer = "DistilBert"
    variants = {  # noqa: RUF012
        "labels": {"num_labels": 3, "problem_type": "multi_label_classification", "seq_classif_dropout": 0.3},
        "sinusoids": {"sinusoidal_pos_embds": True, "eos_token_id": [2, 3]},
    }
    wrong = (
        {"dim": 30},
        {"pad_token_id": 97},
        {"vocab_size": 0},
        {"n_layers": -1},
        {"dropout": 1.5},
        {"activation": None},
    )


class TestDistilBert(ModelConformance):
    model_type = "distilbert"
    tiny = TINY
    peer = "DistilBert"
    position_table = "max_position_embeddings"
    heads = ("base", "masked_lm", "sequence_classification", "token_classification", "question_answering", "multiple_choice")
    variants = {  # noqa: RUF012
        "untied": {"tie_word_embeddings": False, "activation": "relu", "n_heads": 1},
        "sinusoids": {"sinusoidal_pos_embds": True, "chunk_size_feed_forward": 1},
    }
    golden = {  # noqa: RUF012
        "base": -0.561559,
        "masked_lm": 0.293064,
        "sequence_classification": 0.316512,
        "token_classification": -0.223936,
        "question_answering": 0.165877,
        "multiple_choice": -0.060229,
    }
