"""Evaluation: metrics by name, a model on a file of examples, reports with charts."""

from .evaluation import evaluate
from .metric import Metric, load_metric, metric_names
from .results import Evaluation
from .training import make_compute_metrics

__version__ = "0.1.0"

__all__ = ["Evaluation", "Metric", "evaluate", "load_metric", "make_compute_metrics", "metric_names"]
