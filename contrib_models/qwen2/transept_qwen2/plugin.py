"""What `transept-qwen2` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, hookimpl

CONFIG = "transept_qwen2.configuration:Qwen2Config"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="qwen2", config=CONFIG, description="Qwen2, Qwen2.5 and models of their shape")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="qwen2",
            config=CONFIG,
            tasks={
                "base": "transept_qwen2.modeling:Qwen2Model",
                "causal_lm": "transept_qwen2.modeling:Qwen2ForCausalLM",
                "sequence_classification": "transept_qwen2.modeling:Qwen2ForSequenceClassification",
                "token_classification": "transept_qwen2.modeling:Qwen2ForTokenClassification",
                "question_answering": "transept_qwen2.modeling:Qwen2ForQuestionAnswering",
            },
            description="Qwen2, Qwen2.5 and models of their shape",
        )
    ]
