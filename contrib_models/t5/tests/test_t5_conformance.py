"""The conformance kit's checks, for the T5 family."""

from transept_testing import ConfigConformance, Seq2SeqConformance

TINY = {
    "vocab_size": 97,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 56,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "decoder_start_token_id": 0,
}
VARIANTS = {
    "v1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "heads wider than the stream": {"d_kv": 20, "num_decoder_layers": None},
}


class TestT5Config(ConfigConformance):
    model_type = "t5"
    tiny = TINY
    peer = "T5"
    variants = {  # noqa: RUF012
        "v1.1": {"feed_forward_proj": "gated-gelu"},
        "as many decoder layers": {"num_decoder_layers": None},
    }
    # the peer's class stopped having one
    not_compared = ConfigConformance.not_compared | {"bos_token_id"}
    wrong = (
        {"feed_forward_proj": "gated-gelu-new"},
        {"feed_forward_proj": "plain-relu"},
        {"feed_forward_proj": "gated-"},
        {"num_layers": 0},
        {"d_kv": 0},
        {"dropout_rate": 1.5},
        {"relative_attention_num_buckets": 3},
        {"relative_attention_max_distance": 4},
        {"num_decoder_layers": "two"},
    )


# these two shift the text itself into the decoder, which sees the padding before it: as the peer's do
READS_PADDING = "without a `decoder_attention_mask` the decoder reads what is padded on the left"


class TestT5(Seq2SeqConformance):
    model_type = "t5"
    tiny = TINY
    peer = "T5"
    padding_sides = ("right", "left")
    variants = VARIANTS
    golden = {  # noqa: RUF012
        "base": -1.178932,
        "pretraining": 0.228642,
        "seq2seq_lm": 0.228642,
        "text_encoding": 1.285362,
        "sequence_classification": -0.015266,
        "token_classification": 0.195427,
        "question_answering": -0.687828,
    }
    xfails = {  # noqa: RUF012
        f"test_{name}[{task}{variant}-left]": READS_PADDING
        for task in ("sequence_classification", "question_answering")
        for name, variant in (
            ("padding_itself_does_not_matter", ""),
            ("a_padded_batch_is_its_sequences", ""),
            *(("a_padded_batch_is_its_sequences", f"-{name}") for name in VARIANTS),
        )
    }
