"""What training, evaluation and prediction return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["EvalLoopOutput", "EvalPrediction", "PredictionOutput", "TrainOutput", "speed_metrics"]


@dataclass
class EvalPrediction:
    """What `compute_metrics` gets: numpy arrays, or tuples of them, over all examples, -100 where rows were filled.

    `inputs` and `losses` are None unless `include_for_metrics` names them. It also unpacks as `predictions, labels = …`.
    """

    predictions: Any
    label_ids: Any
    inputs: Any = None
    losses: Any = None

    def _elements(self) -> tuple[Any, ...]:
        more = (part for part in (self.inputs, self.losses) if part is not None)
        return (self.predictions, self.label_ids, *more)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._elements())

    def __getitem__(self, index: int) -> Any:
        return self._elements()[index]


class EvalLoopOutput(NamedTuple):
    predictions: Any
    label_ids: Any
    metrics: dict[str, float]
    num_samples: int


class PredictionOutput(NamedTuple):
    predictions: Any
    label_ids: Any
    metrics: dict[str, float]


class TrainOutput(NamedTuple):
    global_step: int
    training_loss: float
    metrics: dict[str, float]


def speed_metrics(split: str, seconds: float, samples: float, steps: float) -> dict[str, float]:
    """Runtime in seconds, and samples and steps a second."""
    found = {f"{split}_runtime": round(seconds, 4)}
    if seconds > 0:
        found[f"{split}_samples_per_second"] = round(samples / seconds, 3)
        found[f"{split}_steps_per_second"] = round(steps / seconds, 3)
    return found
