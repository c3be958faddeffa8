"""`transept convert`: from any format that a plugin reads to a folder that everybody opens, or to one file of a format that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from transept.discovery import load_object, registry
from transept.errors import SaveError, TokenizerError

from .console import err, load_progress, out, size_of
from .loading import DtypeOption, ModelArgument, RevisionOption, load_tokenizer, own_task, task_class

__all__ = ["convert"]


def convert(
    model: ModelArgument,
    destination: Annotated[
        Path, typer.Argument(help="The folder to write: config, tokenizer and safetensors; or a file such as OUT.gguf.")
    ],
    dtype: DtypeOption = "auto",
    task: Annotated[str, typer.Option("--task", help="The auto class to load with, such as AutoModelForCausalLM.")] = "",
    max_shard_size: Annotated[
        str | None, typer.Option("--max-shard-size", help="Largest weight file: 5GB (unless given), 500MB, …")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty, or over a file.")] = False,
    revision: RevisionOption = None,
) -> None:
    """Write any readable checkpoint as config, tokenizer and safetensors, which the peer opens too; or as a GGUF file.

    Into a folder go floats, also from a GGUF file; into a GGUF file its blocks as they are.
    """
    import transept

    single = _format_of(destination)
    if single is None and destination.exists() and (not destination.is_dir() or any(destination.iterdir())) and not force:
        raise SaveError(f"`{destination}` is not empty: choose another folder, or pass --force.")
    if single is not None and destination.exists() and not force:
        raise SaveError(f"`{destination}` is there already: choose another name, or pass --force.")
    if single is not None and max_shard_size is not None:
        raise typer.BadParameter(f"--max-shard-size is for folders, and {destination} is one file.")
    with load_progress(f"Reading {model}") as progress:
        if task:
            kind = getattr(transept, task, None) if task.startswith("AutoModel") else None
        else:
            config = transept.AutoConfig.from_pretrained(model, revision=revision)
            kind = task_class(config, own_task(config))
        if kind is None:
            raise typer.BadParameter(f"no auto class `{task}`: give one such as AutoModelForCausalLM, or leave --task out.")
        loaded = kind.from_pretrained(model, dtype=dtype, revision=revision, progress=progress)
    if single is None:
        _write_folder(loaded, destination, model, revision, max_shard_size or "5GB")
    else:
        _write_file(loaded, destination, model, revision, single)
    written = [destination] if single is not None else sorted(file for file in destination.iterdir() if file.is_file())
    total = sum(file.stat().st_size for file in written)
    where = "" if single is not None else f" to {destination}"
    out.print(f"Wrote {size_of(total)}{where}: {', '.join(file.name for file in written)}", markup=False, soft_wrap=True)


def _format_of(destination: Path) -> Any:
    """The record of the format that writes such a file; None: a folder is meant."""
    return next(
        (one for one in registry.records("checkpoints") if one.write is not None and destination.name.endswith(one.suffixes)),
        None,
    )


def _write_folder(loaded: Any, folder: Path, model: str, revision: str | None, max_shard_size: str) -> None:
    format_of_packing = registry.find("checkpoints", loaded.quantization_method or "")
    if format_of_packing is not None and format_of_packing.packed is not None:
        loaded.dequantize()  # a file's own packing: nobody else reads it out of safetensors
    loaded.save_pretrained(folder, max_shard_size=max_shard_size)
    try:
        load_tokenizer(model, revision=revision).save_pretrained(folder)
    except TokenizerError as error:
        err.print(f"No tokenizer was written: {error}", style="yellow", markup=False, soft_wrap=True)


def _write_file(loaded: Any, file: Path, model: str, revision: str | None, record: Any) -> None:
    tokenizer = None  # a file of the same format has its own, which is kept
    if loaded.load_report.format != record.key:
        try:
            tokenizer = load_tokenizer(model, revision=revision)
        except TokenizerError as error:
            err.print(f"No tokenizer is written: {error}", style="yellow", markup=False, soft_wrap=True)
    load_object(record.write, owner=record.key)(loaded, file, tokenizer=tokenizer)
