"""Evaluation: metrics by name, a model on a file of examples, reports with charts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluation import evaluate
    from .metric import Metric, load_metric, metric_names
    from .results import Evaluation
    from .training import make_compute_metrics

__version__ = "0.1.0"

__all__ = ["Evaluation", "Metric", "evaluate", "load_metric", "make_compute_metrics", "metric_names"]

_PLACES = {
    "Evaluation": "results",
    "Metric": "metric",
    "evaluate": "evaluation",
    "load_metric": "metric",
    "make_compute_metrics": "training",
    "metric_names": "metric",
}


def __getattr__(name: str) -> Any:
    """Names come with their modules when they are used: the list of commands needs this package, and no torch."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
