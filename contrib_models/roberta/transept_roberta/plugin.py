"""What `transept-roberta` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, TokenizerSpec, hookimpl

CONFIG = "transept_roberta.configuration:RobertaConfig"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="roberta", config=CONFIG, description="RoBERTa, and encoders of its shape")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="roberta",
            config=CONFIG,
            tasks={
                "base": "transept_roberta.modeling:RobertaModel",
                "text_encoding": "transept_roberta.modeling:RobertaModel",
                "pretraining": "transept_roberta.heads:RobertaForMaskedLM",
                "masked_lm": "transept_roberta.heads:RobertaForMaskedLM",
                "causal_lm": "transept_roberta.heads:RobertaForCausalLM",
                "sequence_classification": "transept_roberta.heads:RobertaForSequenceClassification",
                "token_classification": "transept_roberta.heads:RobertaForTokenClassification",
                "question_answering": "transept_roberta.heads:RobertaForQuestionAnswering",
                "multiple_choice": "transept_roberta.heads:RobertaForMultipleChoice",
            },
            tokenizer="RobertaTokenizer",
            description="RoBERTa, and encoders of its shape",
        )
    ]


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(key=key, tokenizer=f"transept_roberta.tokenization:{key}", description=description)
        for key, description in {
            "RobertaTokenizer": "byte-level BPE in plain Python, from vocab.json and merges.txt",
            "RobertaTokenizerFast": "byte-level BPE over the `tokenizers` library, from tokenizer.json or those files",
        }.items()
    ]
