"""What `transept-bart` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, TokenizerSpec, hookimpl

CONFIG = "transept_bart.configuration:BartConfig"
DESCRIPTION = "BART, and models of its shape"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="bart", config=CONFIG, description=DESCRIPTION)]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="bart",
            config=CONFIG,
            tasks={
                "base": "transept_bart.modeling:BartModel",
                "pretraining": "transept_bart.modeling:BartForConditionalGeneration",
                "seq2seq_lm": "transept_bart.modeling:BartForConditionalGeneration",
                "masked_lm": "transept_bart.modeling:BartForConditionalGeneration",
                "causal_lm": "transept_bart.heads:BartForCausalLM",
                "sequence_classification": "transept_bart.heads:BartForSequenceClassification",
                "question_answering": "transept_bart.heads:BartForQuestionAnswering",
            },
            tokenizer="BartTokenizer",
            description=DESCRIPTION,
        )
    ]


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(key=key, tokenizer=f"transept_bart.tokenization:{key}", description=description)
        for key, description in {
            "BartTokenizer": "Byte-level BPE in plain Python, from vocab.json and merges.txt",
            "BartTokenizerFast": "Byte-level BPE over the `tokenizers` library, from tokenizer.json or vocab.json and merges.txt",
        }.items()
    ]
