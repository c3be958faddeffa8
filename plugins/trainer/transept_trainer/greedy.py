"""GreedyLR (https://arxiv.org/abs/2512.14527): the rate rises while a metric improves, and falls while it does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from transept.errors import ConfigError

__all__ = ["GreedyLR"]


class GreedyLR:
    """Steps on a metric, as torch's ReduceLROnPlateau does.

    Args:
        mode: "min" when a lower metric is better, else "max".
        factor: the rate is multiplied by it when the metric stands still, and divided by it when the metric improves.
        patience: that many evaluations in a row are waited for before the rate changes.
        threshold, threshold_mode: what counts as better: by this much ("abs"), or by this part ("rel").
        cooldown, warmup: evaluations after a fall, and after a rise, that do not count.
        min_lr, max_lr: bounds, one for all groups or one each.
        eps: smaller changes of the rate are left out.
        smooth, window_size: judge the mean of the last so many metrics.
        reset_start: evaluations at the least rate before the schedule starts anew.

    Raises: ConfigError for a mode that is not known, a factor that is not below 1, or bounds that are not one a group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.95,
        patience: int = 10,
        threshold: float = 1e-6,
        threshold_mode: str = "abs",
        cooldown: int = 0,
        warmup: int = 0,
        min_lr: float | Sequence[float] = 1e-3,
        max_lr: float | Sequence[float] = 1.0,
        eps: float = 1e-8,
        verbose: bool = False,
        smooth: bool = False,
        window_size: int = 50,
        reset_start: int = 500,
    ) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("abs", "rel"):
            raise ConfigError("GreedyLR: `mode` is one of min and max, `threshold_mode` one of abs and rel.")
        if not factor < 1.0:
            raise ConfigError(f"GreedyLR: `factor` is {factor}: it must be below 1.")
        groups = len(optimizer.param_groups)
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.warmup, self.eps, self.verbose = cooldown, warmup, eps, verbose
        self.min_lrs, self.max_lrs = _each("min_lr", min_lr, groups), _each("max_lr", max_lr, groups)
        self.reset_start = self.reset_start_original = reset_start
        self.window_size = window_size
        self.window: deque[float] | None = deque(maxlen=window_size) if smooth else None
        self.initial_lrs = [group["lr"] for group in optimizer.param_groups]
        self.last_lr = list(self.initial_lrs)
        self.last_epoch = 0
        self._forget()

    def _forget(self) -> None:
        self.best = float("inf") if self.mode == "min" else float("-inf")
        self.bad = self.good = self.cooling = self.warming = 0

    def step(self, metrics: float, epoch: int | None = None) -> None:
        """Take one metric into account."""
        current = float(metrics)
        if self.window is not None:
            self.window.append(current)
            current = sum(self.window) / len(self.window)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.cooling or self.warming:
            # a change of the rate is given time to show
            self.cooling, self.warming = (self.cooling - 1, self.warming) if self.cooling else (0, self.warming - 1)
            self.bad = self.good = 0
        else:
            self._judge(current)
        self.last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _judge(self, current: float) -> None:
        if self._is_better(current):
            self.best, self.bad, self.good = current, 0, self.good + 1
        else:
            self.bad, self.good = self.bad + 1, 0
        if self.good > self.patience:
            self._raise()
            self.warming, self.good = self.warmup, 0
        elif self.bad > self.patience:
            self._lower()
            self.cooling, self.bad = self.cooldown, 0

    def _is_better(self, current: float) -> bool:
        down = -1.0 if self.mode == "min" else 1.0
        edge = self.best * (1.0 + down * self.threshold) if self.threshold_mode == "rel" else self.best + down * self.threshold
        return current < edge if self.mode == "min" else current > edge

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if abs(group["lr"] - rate) > self.eps:
                group["lr"] = rate

    def _lower(self) -> None:
        groups = self.optimizer.param_groups
        self._set([max(group["lr"] * self.factor, least) for group, least in zip(groups, self.min_lrs, strict=True)])
        if all(group["lr"] <= least for group, least in zip(groups, self.min_lrs, strict=True)):
            self.reset_start -= 1
            if self.reset_start <= 0:
                self._set_exactly(self.initial_lrs)
                self._forget()
                self.reset_start = self.reset_start_original
                if self.window is not None:
                    self.window.clear()

    def _raise(self) -> None:
        groups = self.optimizer.param_groups
        self._set([min(group["lr"] / self.factor, most) for group, most in zip(groups, self.max_lrs, strict=True)])
        self.reset_start = self.reset_start_original

    def _set_exactly(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def get_last_lr(self) -> list[float]:
        return self.last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, in plain values."""
        state = {name: value for name, value in vars(self).items() if name != "optimizer"}
        state["window"] = None if self.window is None else list(self.window)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        window = state_dict.get("window")
        vars(self).update({name: value for name, value in state_dict.items() if name != "window"})
        self.window = None if window is None else deque(window, maxlen=self.window_size)
        self._set_exactly(self.last_lr)


def _each(name: str, value: float | Sequence[float], groups: int) -> list[float]:
    if isinstance(value, int | float):
        return [float(value)] * groups
    if len(value) != groups:
        raise ConfigError(f"GreedyLR: `{name}` has {len(value)} values for {groups} parameter groups.")
    return [float(one) for one in value]
