"""What `transept-gemma2` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, hookimpl

CONFIG = "transept_gemma2.configuration:Gemma2Config"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="gemma2", config=CONFIG, description="Gemma 2")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="gemma2",
            config=CONFIG,
            tasks={
                "base": "transept_gemma2.modeling:Gemma2Model",
                "causal_lm": "transept_gemma2.modeling:Gemma2ForCausalLM",
                "sequence_classification": "transept_gemma2.modeling:Gemma2ForSequenceClassification",
                "token_classification": "transept_gemma2.modeling:Gemma2ForTokenClassification",
            },
            description="Gemma 2",
        )
    ]
