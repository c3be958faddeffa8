"""`make_compute_metrics`: metrics by name for a trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from transept.errors import InputError

from .metric import Metric, combined, load_metrics

__all__ = ["make_compute_metrics"]


def make_compute_metrics(
    *metrics: str | Metric, tokenizer: Any = None, id2label: Mapping[int, str] | None = None, multi_label: bool = False
) -> Callable[[Any], dict[str, float]]:
    """A function for a trainer's `compute_metrics`.

    What the model gives becomes what each metric compares: logits (n, classes) become labels or probabilities, logits of tokens
    become tags or labels of the tokens that are not -100, token ids become texts.

    Args:
        metrics: names, or `Metric`s.
        tokenizer: decodes token ids; needed by metrics of texts, whose predictions are those of `predict_with_generate`.
        id2label: the names of tags; needed by metrics of tags.
        multi_label: each class is decided by itself, at a logit of 0.

    Returns:
        A function of an `EvalPrediction` (or a pair of predictions and labels), to the numbers by name.

    Raises:
        InputError: an unknown metric, or one that lacks `tokenizer` or `id2label`.
    """
    chosen = load_metrics(metrics)
    for metric in chosen:
        lacking = {"texts": ("tokenizer", tokenizer), "tags": ("id2label", id2label)}.get(metric.inputs)
        if lacking is not None and lacking[1] is None:
            raise InputError(f"`{metric.name}` compares {metric.inputs}: pass `{lacking[0]}=` for that.")

    def compute_metrics(prediction: Any) -> dict[str, float]:
        predictions, references = _parts(prediction)
        made = {
            kind: _prepared(kind, predictions, references, tokenizer, id2label, multi_label)
            for kind in {metric.inputs for metric in chosen}
        }
        return combined(chosen, lambda metric: metric(*made[metric.inputs]))

    return compute_metrics


def _parts(prediction: Any) -> tuple[Any, Any]:
    predictions, references = (
        (prediction.predictions, prediction.label_ids) if hasattr(prediction, "label_ids") else tuple(prediction)[:2]
    )
    if isinstance(predictions, tuple | list) and len(predictions) and hasattr(predictions[0], "ndim"):
        predictions = predictions[0]  # hidden states and the like come after the logits
    if references is None:
        raise InputError("There are no labels to compare with: the dataset needs them.")
    return np.asarray(predictions), np.asarray(references)


def _prepared(
    kind: str, predictions: Any, references: Any, tokenizer: Any, id2label: Any, multi_label: bool
) -> tuple[Any, Any]:
    if kind == "texts":
        return _decoded(tokenizer, predictions), _decoded(tokenizer, references)
    if kind == "logits":
        return predictions, references
    if kind == "values":
        return (predictions[..., 0] if predictions.ndim > references.ndim else predictions), references
    if kind == "tags":
        return _tags(predictions, references, id2label)
    if predictions.ndim > references.ndim and predictions.ndim == 3:  # of each token
        counts = references != -100
        predictions, references = predictions[counts], references[counts]
    if kind == "scores":
        return _softmax(predictions), references
    if multi_label:
        return (predictions > 0).astype(np.int64), references
    return (predictions.argmax(-1) if predictions.ndim > references.ndim else predictions), references


def _tags(predictions: Any, references: Any, id2label: Mapping[int, str]) -> tuple[list[list[str]], list[list[str]]]:
    best = predictions.argmax(-1) if predictions.ndim > references.ndim else predictions
    rows = [(ours[true != -100], true[true != -100]) for ours, true in zip(best, references, strict=True)]
    return [[id2label[int(tag)] for tag in ours] for ours, _ in rows], [
        [id2label[int(tag)] for tag in true] for _, true in rows
    ]


def _decoded(tokenizer: Any, ids: Any) -> list[str]:
    """Texts, without special tokens; -100 fills rows, and stands for no token."""
    return [tokenizer.decode([token for token in row if token >= 0], skip_special_tokens=True) for row in ids.tolist()]


def _softmax(logits: Any) -> Any:
    raised = np.exp(np.asarray(logits, dtype=np.float64) - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)
