"""What `transept-qwen3` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, hookimpl

CONFIG = "transept_qwen3.configuration:Qwen3Config"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="qwen3", config=CONFIG, description="Qwen3's dense models")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="qwen3",
            config=CONFIG,
            tasks={
                "base": "transept_qwen3.modeling:Qwen3Model",
                "causal_lm": "transept_qwen3.modeling:Qwen3ForCausalLM",
                "sequence_classification": "transept_qwen3.modeling:Qwen3ForSequenceClassification",
                "token_classification": "transept_qwen3.modeling:Qwen3ForTokenClassification",
                "question_answering": "transept_qwen3.modeling:Qwen3ForQuestionAnswering",
            },
            description="Qwen3's dense models",
        )
    ]
