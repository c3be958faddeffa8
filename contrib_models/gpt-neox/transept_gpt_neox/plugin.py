"""What `transept-gpt-neox` offers."""

from collections.abc import Iterable

from transept_hookspecs import ConfigSpec, ModelSpec, hookimpl

CONFIG = "transept_gpt_neox.configuration:GPTNeoXConfig"


@hookimpl
def provide_configs() -> Iterable[ConfigSpec]:
    return [ConfigSpec(key="gpt_neox", config=CONFIG, description="GPT-NeoX-20B, Pythia and models of their shape")]


@hookimpl
def provide_models() -> Iterable[ModelSpec]:
    return [
        ModelSpec(
            key="gpt_neox",
            config=CONFIG,
            tasks={
                "base": "transept_gpt_neox.modeling:GPTNeoXModel",
                "causal_lm": "transept_gpt_neox.modeling:GPTNeoXForCausalLM",
                "sequence_classification": "transept_gpt_neox.heads:GPTNeoXForSequenceClassification",
                "token_classification": "transept_gpt_neox.heads:GPTNeoXForTokenClassification",
                "question_answering": "transept_gpt_neox.heads:GPTNeoXForQuestionAnswering",
            },
            description="GPT-NeoX-20B, Pythia and models of their shape",
        )
    ]
