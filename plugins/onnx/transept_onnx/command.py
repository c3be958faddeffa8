"""`transept export`: a model in another format, checked against the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from transept_cli.console import err, load_progress, out
from transept_cli.loading import ModelArgument, RevisionOption, load_tokenizer, own_task, task_class

from transept.auto import known_tasks, task_door
from transept.discovery import load_object, registry
from transept.errors import SaveError, TokenizerError, UnknownArgumentError, UnsupportedTaskError, did_you_mean, shorten

__all__ = ["export"]


def export(
    model: ModelArgument,
    destination: Annotated[Path, typer.Argument(help="The folder to write.")],
    format: Annotated[str, typer.Option("--format", help="An installed exporter.")] = "onnx",  # noqa: A002
    task: Annotated[
        str, typer.Option("--task", help="The head to export: causal_lm, AutoModelForCausalLM, …; else the checkpoint's own.")
    ] = "",
    cache: Annotated[
        bool | None,
        typer.Option("--cache/--no-cache", help="Keys and values go in and out of a decoder; by default where it generates."),
    ] = None,
    quantize: Annotated[str | None, typer.Option("--quantize", help="Also write a quantized copy: int8.")] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="float32, float16, …: of the weights in the file.")] = "float32",
    opset: Annotated[int | None, typer.Option("--opset", help="Version of ONNX's operators; else torch's choice.")] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Largest difference from the model that is let pass, of an output's scale.")
    ] = 1e-4,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
    revision: RevisionOption = None,
) -> None:
    """Export a model to another format, and check what comes out against the model."""
    from transept import AutoConfig

    record = registry.get("exporters", format)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())) and not force:
        raise SaveError(f"`{destination}` is not empty: choose another folder, or pass --force.")
    run = load_object(record.export, owner=registry.owner("exporters", format))
    config = AutoConfig.from_pretrained(model, revision=revision)
    with load_progress(f"Reading {model}") as progress:
        loaded = _class_for(config, task).from_pretrained(model, dtype=dtype, revision=revision, progress=progress)
    try:
        tokenizer = load_tokenizer(model, revision=revision)
    except TokenizerError as error:
        tokenizer = None
        err.print(f"No tokenizer is written: {error}", style="yellow", markup=False, soft_wrap=True)
    err.print(f"Exporting {type(loaded).__name__} ({loaded.num_parameters():,} parameters)…", style="dim", markup=False)
    report = run(
        loaded,
        destination,
        cache=cache,
        quantize=quantize,
        opset_version=opset,
        tolerance=tolerance,
        tokenizer=tokenizer,
    )
    out.print(str(report), markup=False, highlight=False, soft_wrap=True)


def _class_for(config: Any, task: str) -> Any:
    """The class for a task, given as its key or as an auto class; for none the checkpoint's own."""
    if not task:
        return task_class(config, own_task(config))
    doors = {task_door(key): key for key in known_tasks()}
    key, has = doors.get(task, task), registry.get("models", config.model_type).tasks
    if key not in {*doors.values(), *has}:
        raise UnknownArgumentError(
            f"`--task {task}` is no task.{did_you_mean(task, {*doors, *doors.values()})}", argument="task"
        )
    if key not in has:
        raise UnsupportedTaskError(
            f"`{config.model_type}` has no class for `{task}`. It has {shorten(sorted(has), 12)}.", task=key
        )
    return task_class(config, key)
