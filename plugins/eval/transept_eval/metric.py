"""`Metric`: a metric by name, which checks what it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transept.discovery import load_object, registry
from transept.errors import InputError, TranseptError, UnknownArgumentError, did_you_mean, shorten

__all__ = ["Metric", "combined", "load_metric", "load_metrics", "metric_names"]


@dataclass(frozen=True)
class Metric:
    """A function of predictions and references that returns numbers by name. Call it with the two.

    Args:
        name: how it is called in reports.
        function: `function(predictions, references, **options) -> dict[str, float]`.
        inputs: what the two are: "labels", "scores", "logits", "values", "tags" or "texts"; see `MetricSpec.inputs`.
        greater_is_better: False for errors.
        options: keywords for the function.
    """

    name: str
    function: Callable[..., Mapping[str, float]]
    inputs: str
    greater_is_better: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, predictions: Any, references: Any) -> dict[str, float]:
        """The numbers.

        Args:
            predictions, references: as `inputs` says; tensors, arrays or lists. A reference text may be one string.

        Raises:
            InputError: nothing to compare, numbers that differ, shapes that do not fit, or a metric that is undefined here.
        """
        predictions, references = _checked(self, predictions, references)
        try:
            return {name: float(value) for name, value in self.function(predictions, references, **self.options).items()}
        except TranseptError:
            raise
        except (ValueError, IndexError, TypeError) as error:
            raise InputError(f"`{self.name}` cannot be computed of these predictions and references: {error}") from error


def metric_names(inputs: str | None = None) -> list[str]:
    """The installed metrics, sorted; with `inputs` those that compare what it names."""
    if inputs is None:
        return registry.keys("metrics")
    return [record.key for record in registry.records("metrics") if record.inputs == inputs]


def load_metric(name: str, **options: Any) -> Metric:
    """An installed metric.

    Args:
        name: its key, such as `accuracy`, `rouge`.
        options: its keywords, such as `word_order=2` of `chrf`.

    Raises:
        InputError: no such metric; the message says which are near, and lists all.
        UnknownArgumentError: an option that it does not have.
    """
    if not isinstance(name, str):
        raise InputError(f"A metric is a name, such as 'accuracy', or a `Metric`, not a `{type(name).__name__}`.")
    record = registry.find("metrics", name)
    if record is None:
        known = metric_names()
        raise InputError(
            f"There is no metric `{name}`.{did_you_mean(name, known)} Installed: {shorten(known, 100) or 'none'}.", metric=name
        )
    function = load_object(record.metric, owner=registry.owner("metrics", name))
    takes = [p.name for p in inspect.signature(function).parameters.values()][2:]
    for option in options:
        if option not in takes:
            said = f"It takes {shorten(takes, 10)}." if takes else "It takes none."
            raise UnknownArgumentError(
                f"`{name}` has no option `{option}`.{did_you_mean(option, takes)} {said}", argument=option
            )
    return Metric(name, function, record.inputs, record.greater_is_better, options)


def load_metrics(metrics: Iterable[str | Metric]) -> list[Metric]:
    """Names and metrics, as metrics; each once."""
    if isinstance(metrics, str | Metric):
        metrics = [metrics]
    found = [each if isinstance(each, Metric) else load_metric(each) for each in metrics]
    if not found:
        raise InputError("`metrics` names none. Leave it out for the usual ones, or name one, such as 'accuracy'.")
    twice = [each.name for place, each in enumerate(found) if each.name in [other.name for other in found[:place]]]
    if twice:
        raise InputError(f"{shorten(twice)} is asked for twice. Name each metric once.")
    return found


def combined(metrics: Sequence[Metric], compute: Callable[[Metric], Mapping[str, float]]) -> dict[str, float]:
    """All numbers by name; a name that two metrics have is preceded by the metric's."""
    found = [(metric.name, compute(metric)) for metric in metrics]
    names = [name for _, numbers in found for name in numbers]
    return {
        (f"{metric}_{name}" if names.count(name) > 1 else name): value
        for metric, numbers in found
        for name, value in numbers.items()
    }


def _checked(metric: Metric, predictions: Any, references: Any) -> tuple[Any, Any]:
    if len(predictions) == 0:
        raise InputError(f"`{metric.name}` has nothing to compare: there are no predictions.")
    if len(predictions) != len(references):
        raise InputError(f"`{metric.name}` has {len(predictions)} predictions for {len(references)} references.")
    if metric.inputs == "texts":
        return _texts(metric.name, predictions, references)
    if metric.inputs == "tags":
        for place, (ours, true) in enumerate(zip(predictions, references, strict=True)):
            if len(ours) != len(true):
                raise InputError(f"Sequence {place} has {len(ours)} predicted tags for {len(true)}.")
        return predictions, references
    predictions, references = _array(predictions), _array(references)
    if metric.inputs in ("labels", "values") and predictions.shape != references.shape:
        raise InputError(f"`{metric.name}` has predictions of shape {predictions.shape} for references of {references.shape}.")
    if metric.inputs == "labels":
        return _whole(metric.name, predictions), _whole(metric.name, references)
    if metric.inputs in ("scores", "logits"):
        _check_classes(metric, predictions, references)
    elif not (np.isfinite(predictions).all() and np.isfinite(references).all()):
        raise InputError(f"`{metric.name}` has values that are no finite numbers.")
    return predictions, references


def _array(values: Any) -> Any:
    detached = values.detach().float().cpu() if hasattr(values, "detach") and values.is_floating_point() else values
    try:
        return np.asarray(detached)
    except ValueError as error:
        raise InputError(f"Predictions and references have rows of one length; these differ: {error}") from error


def _whole(name: str, labels: Any) -> Any:
    if labels.dtype.kind in "OSUM" or (labels.dtype.kind == "f" and not (labels == np.floor(labels)).all()):
        raise InputError(
            f"`{name}` compares class numbers, and these are {labels.flat[0]!r} and the like. Take the argmax of scores."
        )
    return labels.astype(np.int64)


def _check_classes(metric: Metric, predictions: Any, references: Any) -> None:
    """Scores (n, classes) with labels (n,), or logits (n, seq, vocab) with labels (n, seq); labels within the classes."""
    dims = 2 if metric.inputs == "scores" else 3
    if predictions.ndim != dims or references.shape != predictions.shape[:-1]:
        wanted = "(n, classes) and (n,)" if dims == 2 else "(n, seq, vocab) and (n, seq)"
        raise InputError(f"`{metric.name}` needs {wanted}, and has {predictions.shape} and {references.shape}.")
    counted = references[references != -100] if dims == 3 else references
    if counted.size and not 0 <= counted.min() <= counted.max() < predictions.shape[-1]:
        wrong = counted.min() if counted.min() < 0 else counted.max()
        raise InputError(f"`{metric.name}`: the label {wrong} is out of range, for there are {predictions.shape[-1]} classes.")


def _texts(name: str, predictions: Any, references: Any) -> tuple[list[str], list[list[str]]]:
    lists = [[each] if isinstance(each, str) else list(each) for each in references]
    for place, (ours, true) in enumerate(zip(predictions, lists, strict=True)):
        if not isinstance(ours, str) or not all(isinstance(each, str) for each in true):
            raise InputError(f"`{name}` compares texts, and example {place} has others: {ours!r:.40} and {true!r:.40}.")
        if not true:
            raise InputError(f"`{name}`: example {place} has no reference. Give one or more.")
    return list(predictions), lists
