"""Metrics of numbers: predictions and references (n,) or (n, outputs)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from transept.errors import InputError

__all__ = ["mae", "mse", "pearson", "r2", "spearman"]


def mse(predictions: Any, references: Any) -> dict[str, float]:
    return {"mse": float(sklearn_metrics.mean_squared_error(references, predictions))}


def mae(predictions: Any, references: Any) -> dict[str, float]:
    return {"mae": float(sklearn_metrics.mean_absolute_error(references, predictions))}


def r2(predictions: Any, references: Any) -> dict[str, float]:
    if len(references) < 2:
        raise InputError("`r2` needs two examples or more.")
    return {"r2": float(sklearn_metrics.r2_score(references, predictions))}


def pearson(predictions: Any, references: Any) -> dict[str, float]:
    return {"pearson": _correlation("pearson", stats.pearsonr, predictions, references)}


def spearman(predictions: Any, references: Any) -> dict[str, float]:
    return {"spearman": _correlation("spearman", stats.spearmanr, predictions, references)}


def _correlation(name: str, correlation: Callable[..., Any], predictions: Any, references: Any) -> float:
    """The mean over outputs."""
    predictions, references = (np.asarray(each).reshape(len(each), -1) for each in (predictions, references))
    if len(references) < 2 or (np.ptp(predictions, 0) == 0).any() or (np.ptp(references, 0) == 0).any():
        raise InputError(
            f"`{name}` needs two examples or more, with values that differ among predictions and among references."
        )
    pairs = zip(predictions.T, references.T, strict=True)
    return float(np.mean([correlation(ours, true).statistic for ours, true in pairs]))
