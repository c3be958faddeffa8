"""What `transept-mistral` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, hookimpl

CONFIG = "transept_mistral.configuration:MistralConfig"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="mistral", config=CONFIG, description="Mistral 7B and models of its shape")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="mistral",
            config=CONFIG,
            tasks={
                "base": "transept_mistral.modeling:MistralModel",
                "causal_lm": "transept_mistral.modeling:MistralForCausalLM",
                "sequence_classification": "transept_mistral.modeling:MistralForSequenceClassification",
                "token_classification": "transept_mistral.modeling:MistralForTokenClassification",
                "question_answering": "transept_mistral.modeling:MistralForQuestionAnswering",
            },
            description="Mistral 7B and models of its shape",
        )
    ]
