"""What `transept-t5` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, TokenizerSpec, hookimpl

CONFIG = "transept_t5.configuration:T5Config"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="t5", config=CONFIG, description="T5 v1.0 and v1.1, and models of their shape")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="t5",
            config=CONFIG,
            tasks={
                "base": "transept_t5.modeling:T5Model",
                "pretraining": "transept_t5.modeling:T5ForConditionalGeneration",
                "seq2seq_lm": "transept_t5.modeling:T5ForConditionalGeneration",
                "text_encoding": "transept_t5.modeling:T5EncoderModel",
                "sequence_classification": "transept_t5.heads:T5ForSequenceClassification",
                "token_classification": "transept_t5.heads:T5ForTokenClassification",
                "question_answering": "transept_t5.heads:T5ForQuestionAnswering",
            },
            tokenizer="T5Tokenizer",
            description="T5 v1.0 and v1.1, and models of their shape",
        )
    ]


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(key=key, tokenizer=f"transept_t5.tokenization:{key}", description=description)
        for key, description in {
            "T5Tokenizer": "Unigram in plain Python, from spiece.model",
            "T5TokenizerFast": "Unigram over the `tokenizers` library, from tokenizer.json or spiece.model",
        }.items()
    ]
