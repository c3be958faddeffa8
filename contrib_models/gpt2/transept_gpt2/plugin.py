"""What `transept-gpt2` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, TokenizerSpec, hookimpl

CONFIG = "transept_gpt2.configuration:GPT2Config"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="gpt2", config=CONFIG, description="GPT-2, and models of its shape")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="gpt2",
            config=CONFIG,
            tasks={
                "base": "transept_gpt2.modeling:GPT2Model",
                "pretraining": "transept_gpt2.modeling:GPT2LMHeadModel",
                "causal_lm": "transept_gpt2.modeling:GPT2LMHeadModel",
                "double_heads": "transept_gpt2.double_heads:GPT2DoubleHeadsModel",
                "sequence_classification": "transept_gpt2.heads:GPT2ForSequenceClassification",
                "token_classification": "transept_gpt2.heads:GPT2ForTokenClassification",
                "question_answering": "transept_gpt2.heads:GPT2ForQuestionAnswering",
            },
            tokenizer="GPT2Tokenizer",
            description="GPT-2, and models of its shape",
        )
    ]


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(key=key, tokenizer=f"transept_gpt2.tokenization:{key}", description=description)
        for key, description in {
            "GPT2Tokenizer": "Byte-level BPE in plain Python, from vocab.json and merges.txt",
            "GPT2TokenizerFast": "Byte-level BPE over the `tokenizers` library, from tokenizer.json, or vocab.json and merges.txt",
        }.items()
    ]
