"""What `transept-distilbert` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, TokenizerSpec, hookimpl

CONFIG = "transept_distilbert.configuration:DistilBertConfig"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="distilbert", config=CONFIG, description="DistilBERT")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="distilbert",
            config=CONFIG,
            tasks={
                "base": "transept_distilbert.modeling:DistilBertModel",
                "text_encoding": "transept_distilbert.modeling:DistilBertModel",
                "pretraining": "transept_distilbert.heads:DistilBertForMaskedLM",
                "masked_lm": "transept_distilbert.heads:DistilBertForMaskedLM",
                "sequence_classification": "transept_distilbert.heads:DistilBertForSequenceClassification",
                "token_classification": "transept_distilbert.heads:DistilBertForTokenClassification",
                "question_answering": "transept_distilbert.heads:DistilBertForQuestionAnswering",
                "multiple_choice": "transept_distilbert.heads:DistilBertForMultipleChoice",
            },
            tokenizer="DistilBertTokenizer",
            description="DistilBERT",
        )
    ]


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(key=key, tokenizer=f"transept_distilbert.tokenization:{key}", description=description)
        for key, description in {
            "DistilBertTokenizer": "WordPiece in plain Python, from vocab.txt",
            "DistilBertTokenizerFast": "WordPiece over the `tokenizers` library, from tokenizer.json or vocab.txt",
        }.items()
    ]
