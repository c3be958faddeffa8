"""What `transept-bert` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, TokenizerSpec, hookimpl

CONFIG = "transept_bert.configuration:BertConfig"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="bert", config=CONFIG, description="BERT, and encoders of its shape")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="bert",
            config=CONFIG,
            tasks={
                "base": "transept_bert.modeling:BertModel",
                "text_encoding": "transept_bert.modeling:BertModel",
                "pretraining": "transept_bert.pretraining:BertForPreTraining",
                "masked_lm": "transept_bert.heads:BertForMaskedLM",
                "causal_lm": "transept_bert.heads:BertLMHeadModel",
                "next_sentence_prediction": "transept_bert.pretraining:BertForNextSentencePrediction",
                "sequence_classification": "transept_bert.heads:BertForSequenceClassification",
                "token_classification": "transept_bert.heads:BertForTokenClassification",
                "question_answering": "transept_bert.heads:BertForQuestionAnswering",
                "multiple_choice": "transept_bert.heads:BertForMultipleChoice",
            },
            tokenizer="BertTokenizer",
            key_maps={"safetensors": "transept_bert.checkpoint:KEY_MAP"},
            description="BERT, and encoders of its shape",
        )
    ]


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(key=key, tokenizer=f"transept_bert.tokenization:{key}", description=description)
        for key, description in {
            "BertTokenizer": "WordPiece in plain Python, from vocab.txt",
            "BertTokenizerFast": "WordPiece over the `tokenizers` library, from tokenizer.json or vocab.txt",
        }.items()
    ]
