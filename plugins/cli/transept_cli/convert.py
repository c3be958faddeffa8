"""`transept convert`: from any format that a plugin reads to a folder that everybody opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transept.errors import SaveError, TokenizerError

from .console import err, load_progress, out, size_of
from .loading import DtypeOption, ModelArgument, RevisionOption, load_tokenizer, own_task, task_class

__all__ = ["convert"]


def convert(
    model: ModelArgument,
    destination: Annotated[Path, typer.Argument(help="The folder to write: config, tokenizer and safetensors.")],
    dtype: DtypeOption = "auto",
    task: Annotated[str, typer.Option("--task", help="The auto class to load with, such as AutoModelForCausalLM.")] = "",
    max_shard_size: Annotated[str, typer.Option("--max-shard-size", help="Largest weight file: 5GB, 500MB, …")] = "5GB",
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    revision: RevisionOption = None,
) -> None:
    """Write any readable checkpoint as config, tokenizer and safetensors, which the peer opens too."""
    import transept

    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())) and not force:
        raise SaveError(f"`{destination}` is not empty: choose another folder, or pass --force.")
    with load_progress(f"Reading {model}") as progress:
        if task:
            kind = getattr(transept, task, None) if task.startswith("AutoModel") else None
        else:
            config = transept.AutoConfig.from_pretrained(model, revision=revision)
            kind = task_class(config, own_task(config))
        if kind is None:
            raise typer.BadParameter(f"no auto class `{task}`: give one such as AutoModelForCausalLM, or leave --task out.")
        loaded = kind.from_pretrained(model, dtype=dtype, revision=revision, progress=progress)
    loaded.save_pretrained(destination, max_shard_size=max_shard_size)
    try:
        load_tokenizer(model, revision=revision).save_pretrained(destination)
    except TokenizerError as error:
        err.print(f"No tokenizer was written: {error}", style="yellow", markup=False, soft_wrap=True)
    written = sorted(file for file in destination.iterdir() if file.is_file())
    total = sum(file.stat().st_size for file in written)
    out.print(
        f"Wrote {size_of(total)} to {destination}: {', '.join(file.name for file in written)}", markup=False, soft_wrap=True
    )
