"""What `transept-llama` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, hookimpl

CONFIG = "transept_llama.configuration:LlamaConfig"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="llama", config=CONFIG, description="Llama, and models of its shape")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="llama",
            config=CONFIG,
            tasks={
                "base": "transept_llama.modeling:LlamaModel",
                "causal_lm": "transept_llama.modeling:LlamaForCausalLM",
                "sequence_classification": "transept_llama.modeling:LlamaForSequenceClassification",
                "token_classification": "transept_llama.modeling:LlamaForTokenClassification",
                "question_answering": "transept_llama.modeling:LlamaForQuestionAnswering",
            },
            description="Llama, and models of its shape",
        )
    ]
