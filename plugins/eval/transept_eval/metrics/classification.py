"""Metrics of labels, computed by scikit-learn.

Predictions and references are class numbers (n,), or for several labels at once 0 and 1 (n, classes).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import metrics as sklearn_metrics

from transept.errors import InputError

__all__ = [
    "accuracy",
    "balanced_accuracy",
    "cohen_kappa",
    "f1",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "matthews_correlation",
    "precision",
    "precision_macro",
    "precision_micro",
    "precision_weighted",
    "recall",
    "recall_macro",
    "recall_micro",
    "recall_weighted",
]

Function = Callable[..., dict[str, float]]


def accuracy(predictions: Any, references: Any) -> dict[str, float]:
    return {"accuracy": float(sklearn_metrics.accuracy_score(references, predictions))}


def balanced_accuracy(predictions: Any, references: Any) -> dict[str, float]:
    _check_single("balanced_accuracy", references)
    recalls = sklearn_metrics.recall_score(references, predictions, labels=np.unique(references), average=None, zero_division=0)
    return {"balanced_accuracy": float(np.mean(recalls))}


def matthews_correlation(predictions: Any, references: Any) -> dict[str, float]:
    _check_single("matthews_correlation", references)
    return {"matthews_correlation": float(sklearn_metrics.matthews_corrcoef(references, predictions))}


def cohen_kappa(predictions: Any, references: Any, *, weights: str | None = None) -> dict[str, float]:
    _check_single("cohen_kappa", references)
    return {"cohen_kappa": float(sklearn_metrics.cohen_kappa_score(references, predictions, weights=weights))}


def _check_single(name: str, references: Any) -> None:
    if np.ndim(references) > 1:
        raise InputError(f"`{name}` is for one label an example. With several, use `f1_micro` or `f1_macro`.")


def _of_one_class(name: str, score: Callable[..., Any]) -> Function:
    def metric(
        predictions: Any, references: Any, *, pos_label: int = 1, zero_division: float = 0.0, num_labels: int | None = None
    ) -> dict[str, float]:
        several = np.ndim(references) > 1 or (num_labels or 0) > 2
        if several or (num_labels is None and max(np.max(predictions), np.max(references), 1) > 1):
            raise InputError(
                f"`{name}` is the {name} of one class out of two, and there are more here. Use `{name}_macro`, `{name}_micro` or "
                f"`{name}_weighted`."
            )
        value = score(references, predictions, labels=[pos_label], average="macro", zero_division=zero_division)
        return {name: float(value)}

    metric.__name__ = name
    return metric


def _averaged(name: str, score: Callable[..., Any], average: str) -> Function:
    def metric(predictions: Any, references: Any, *, zero_division: float = 0.0) -> dict[str, float]:
        return {name: float(score(references, predictions, average=average, zero_division=zero_division))}

    metric.__name__ = name
    return metric


precision = _of_one_class("precision", sklearn_metrics.precision_score)
precision_macro = _averaged("precision_macro", sklearn_metrics.precision_score, "macro")
precision_micro = _averaged("precision_micro", sklearn_metrics.precision_score, "micro")
precision_weighted = _averaged("precision_weighted", sklearn_metrics.precision_score, "weighted")
recall = _of_one_class("recall", sklearn_metrics.recall_score)
recall_macro = _averaged("recall_macro", sklearn_metrics.recall_score, "macro")
recall_micro = _averaged("recall_micro", sklearn_metrics.recall_score, "micro")
recall_weighted = _averaged("recall_weighted", sklearn_metrics.recall_score, "weighted")
f1 = _of_one_class("f1", sklearn_metrics.f1_score)
f1_macro = _averaged("f1_macro", sklearn_metrics.f1_score, "macro")
f1_micro = _averaged("f1_micro", sklearn_metrics.f1_score, "micro")
f1_weighted = _averaged("f1_weighted", sklearn_metrics.f1_score, "weighted")
