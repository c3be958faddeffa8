"""Metrics of probabilities: predictions (n, classes) that sum to 1, references class numbers (n,)."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import metrics as sklearn_metrics

from transept.errors import InputError

__all__ = ["average_precision", "brier_score", "calibration_bins", "calibration_error", "log_loss", "roc_auc", "top_5_accuracy"]


def roc_auc(predictions: Any, references: Any) -> dict[str, float]:
    """Area under the ROC curve; of more than two classes the mean, each against the rest."""
    predictions, truth = _against_the_rest("roc_auc", predictions, references)
    return {"roc_auc": float(sklearn_metrics.roc_auc_score(truth, predictions, average="macro"))}


def average_precision(predictions: Any, references: Any) -> dict[str, float]:
    predictions, truth = _against_the_rest("average_precision", predictions, references)
    return {"average_precision": float(sklearn_metrics.average_precision_score(truth, predictions, average="macro"))}


def top_5_accuracy(predictions: Any, references: Any) -> dict[str, float]:
    best = np.argsort(-predictions, axis=1, kind="stable")[:, :5]
    return {"top_5_accuracy": float((best == np.asarray(references)[:, None]).any(1).mean())}


def log_loss(predictions: Any, references: Any) -> dict[str, float]:
    """Mean negative log likelihood, nats."""
    classes = np.arange(predictions.shape[1])
    return {"log_loss": float(sklearn_metrics.log_loss(references, _probabilities("log_loss", predictions), labels=classes))}


def brier_score(predictions: Any, references: Any) -> dict[str, float]:
    """Brier, 1950: the squared distance summed over all classes, 0 to 2."""
    predictions, truth = _probabilities("brier_score", predictions), np.eye(predictions.shape[1])[references]
    return {"brier_score": float(((predictions - truth) ** 2).sum(1).mean())}


def calibration_error(predictions: Any, references: Any, *, bins: int = 15) -> dict[str, float]:
    """Expected calibration error of the likeliest class (Guo et al., arXiv:1706.04599, equation 3)."""
    found = calibration_bins(_probabilities("calibration_error", predictions), references, bins)
    total = sum(count for _, _, count in found)
    return {"calibration_error": float(sum(abs(sure - right) * count for sure, right, count in found) / total)}


def calibration_bins(predictions: Any, references: Any, bins: int) -> list[tuple[float, float, int]]:
    """Of each bin of equal width: mean confidence, accuracy and examples; bins without examples have 0 for all."""
    sure = predictions.max(1)
    right = predictions.argmax(1) == references
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)  # a bin holds its upper end
    return [
        (float(sure[inside].mean()), float(right[inside].mean()), int(inside.sum())) if inside.any() else (0.0, 0.0, 0)
        for inside in (place == number for number in range(bins))
    ]


def _probabilities(name: str, predictions: Any) -> Any:
    """float64, rows of sum 1 but for rounding."""
    predictions = predictions.astype(np.float64)
    sums = predictions.sum(1, keepdims=True)
    if (predictions < 0).any() or (abs(sums - 1) > 1e-2).any():
        raise InputError(f"`{name}` needs probabilities, of which each row's sum is 1. Apply a softmax to logits.")
    return predictions / sums


def _against_the_rest(name: str, predictions: Any, references: Any) -> tuple[Any, Any]:
    """Scores and truth of class 1 out of two, or (n, classes) of each class that occurs."""
    present = np.unique(references)
    if len(present) < 2:
        raise InputError(f"`{name}` compares classes, and all references are of class {present[0]}. Leave it out here.")
    if predictions.shape[1] == 2:
        return predictions[:, 1], np.asarray(references) == 1
    return predictions[:, present], np.asarray(references)[:, None] == present
