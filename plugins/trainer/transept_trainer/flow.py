"""The callbacks that decide: when to log, evaluate, save and stop."""

from __future__ import annotations

import operator
from typing import Any

from transept.errors import ConfigError

from .callbacks import ExportableState, TrainerCallback, TrainerControl, TrainerState
from .names import IntervalStrategy, SaveStrategy
from .notices import notice

__all__ = ["DefaultFlowCallback", "EarlyStoppingCallback", "metric_key"]


def metric_key(name: str) -> str:
    """The key of a metric among those of an evaluation: with `eval_` in front."""
    return name if name.startswith("eval_") else f"eval_{name}"


class DefaultFlowCallback(TrainerCallback):
    """Logs, evaluates, saves and stops as the arguments say."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        step = state.global_step
        first = step == 1 and args.logging_first_step
        if first or (args.logging_strategy == IntervalStrategy.STEPS and step % state.logging_steps == 0):
            control.should_log = True
        evaluates = args.eval_strategy == IntervalStrategy.STEPS and args.eval_delay <= step
        if evaluates and step % state.eval_steps == 0:
            control.should_evaluate = True
        saves = args.save_strategy == SaveStrategy.STEPS and state.save_steps > 0
        if saves and step % state.save_steps == 0:
            control.should_save = True
        if step >= state.max_steps:
            control.should_training_stop = True
            control.should_evaluate |= evaluates
            control.should_save |= args.save_strategy == SaveStrategy.STEPS
        return control

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        control.should_log |= args.logging_strategy == IntervalStrategy.EPOCH
        control.should_evaluate |= args.eval_strategy == IntervalStrategy.EPOCH and args.eval_delay <= state.epoch
        control.should_save |= args.save_strategy == SaveStrategy.EPOCH
        return control


class EarlyStoppingCallback(TrainerCallback, ExportableState):
    """Stops when `metric_for_best_model` has not become better for `early_stopping_patience` evaluations in a row.

    Args:
        early_stopping_patience: evaluations without progress that are waited for.
        early_stopping_threshold: progress is a change by more than this.

    Raises: ConfigError when training begins without evaluations, or without a metric.
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float | None = 0.0) -> None:
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_threshold = early_stopping_threshold or 0.0
        self.early_stopping_patience_counter = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.metric_for_best_model is None:
            raise ConfigError("`EarlyStoppingCallback` needs `metric_for_best_model`: `loss`, or a key of `compute_metrics`.")
        if args.eval_strategy == IntervalStrategy.NO:
            raise ConfigError("`EarlyStoppingCallback` needs evaluations: set `eval_strategy` to `steps` or `epoch`.")

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: dict[str, float] | None = None, **kwargs: Any
    ) -> TrainerControl:
        value = (metrics or {}).get(metric_key(args.metric_for_best_model))
        if value is None:
            notice(f"`{metric_key(args.metric_for_best_model)}` is not among the metrics, so that nothing stops early.")
            return control
        better = operator.gt if args.greater_is_better else operator.lt
        if state.best_metric is None or (
            better(value, state.best_metric) and abs(value - state.best_metric) > self.early_stopping_threshold
        ):
            self.early_stopping_patience_counter = 0
        else:
            self.early_stopping_patience_counter += 1
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True
        return control

    def state(self) -> dict[str, Any]:
        return {
            "args": {
                "early_stopping_patience": self.early_stopping_patience,
                "early_stopping_threshold": self.early_stopping_threshold,
            },
            "attributes": {"early_stopping_patience_counter": self.early_stopping_patience_counter},
        }
