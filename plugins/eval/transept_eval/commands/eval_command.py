"""`transept eval`: a model on a file of examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transept_cli.console import err, out, print_json, print_table
from transept_cli.loading import AttentionOption, DtypeOption, ModelArgument, RevisionOption, RewriteOption

from transept.errors import UnknownArgumentError

from ..results import shown

__all__ = ["eval_command"]


def eval_command(
    model: ModelArgument,
    data: Annotated[Path, typer.Option("--data", "-d", help="Examples: .jsonl, .json, .csv, .tsv, .txt, .conll.")],
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="text-classification, token-classification, question-answering, text-generation or language-modeling. Default: what the model's head is for.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="A metric by name; may be repeated. Default: the task's usual ones."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for report.html, report.md, metrics.json and predictions.jsonl."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="PART=NAME: which column plays which part, such as text=body; may be repeated."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            help="NAME=VALUE, an option of the task: window=512, stride=256, max_length=128, max_new_tokens=32, chat=true; may be repeated.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Examples in one pass of the model.")] = 8,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take the first so many examples.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    dtype: DtypeOption = "auto",
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1, … Default: an accelerator where there is one.")
    ] = None,
    attention: AttentionOption = "auto",
    rewrite: RewriteOption = None,
    revision: RevisionOption = None,
) -> None:
    """Evaluate a model on a file of examples: classification, tags, answers, generated text, perplexity."""
    from ..evaluation import evaluate

    loading: dict[str, Any] = {"rewrites": tuple(rewrite)} if rewrite else {}
    if attention != "auto":
        loading["attn_implementation"] = attention
    with _progress() as progress:
        try:
            found = evaluate(
                model,
                data,
                task,
                metrics=metric or None,
                columns=dict(_pair(each, "--column") for each in column or ()),
                batch_size=batch_size,
                limit=limit,
                device=device,
                dtype=dtype,
                revision=revision,
                model_kwargs=loading,
                progress=progress,
                **{name: _value(text) for name, text in (_pair(each, "--option") for each in option or ())},
            )
        except UnknownArgumentError as error:
            raise typer.BadParameter(str(error), param_hint="--option") from error
    written = found.save(output) if output is not None else []
    if as_json:
        print_json(found.to_dict() | {"files": [str(file) for file in written]})
        return
    title = f"{found.task}: {found.model} on {found.dataset}, {found.examples:,} examples in {found.seconds:.1f} s"
    print_table(("metric", "value"), [(name, shown(value)) for name, value in found.metrics.items()], title=title)
    for note in found.notes:
        err.print(note, style="yellow", markup=False, soft_wrap=True)
    if written:
        out.print(f"Report: {written[0]}", markup=False, soft_wrap=True, highlight=False)


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise typer.BadParameter(f"`{text}` is not of the form NAME=VALUE.", param_hint=flag)
    return name, value


def _value(text: str) -> Any:
    """A number, true, false or null, a list: as JSON has them; else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar on a terminal."""
    if not err.is_terminal:
        yield None
        return
    columns = (TextColumn("Evaluating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("Evaluating", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
