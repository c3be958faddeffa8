"""What `transept-albert` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, TokenizerSpec, hookimpl

CONFIG = "transept_albert.configuration:AlbertConfig"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="albert", config=CONFIG, description="ALBERT")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="albert",
            config=CONFIG,
            tasks={
                "base": "transept_albert.modeling:AlbertModel",
                "text_encoding": "transept_albert.modeling:AlbertModel",
                "pretraining": "transept_albert.heads:AlbertForPreTraining",
                "masked_lm": "transept_albert.heads:AlbertForMaskedLM",
                "sequence_classification": "transept_albert.heads:AlbertForSequenceClassification",
                "token_classification": "transept_albert.heads:AlbertForTokenClassification",
                "question_answering": "transept_albert.heads:AlbertForQuestionAnswering",
                "multiple_choice": "transept_albert.heads:AlbertForMultipleChoice",
            },
            tokenizer="AlbertTokenizer",
            description="ALBERT",
        )
    ]


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(key=key, tokenizer=f"transept_albert.tokenization:{key}", description=description)
        for key, description in {
            "AlbertTokenizer": "SentencePiece Unigram in plain Python, from spiece.model",
            "AlbertTokenizerFast": "SentencePiece Unigram over the `tokenizers` library, from tokenizer.json or spiece.model",
        }.items()
    ]
