"""Learning-rate schedules, with the peer's names, arguments and values.

Each plugin is `name(optimizer, *, num_warmup_steps, num_training_steps, **options)`; the functions called `get_…` are the peer's
spelling of the same. A schedule is a factor on each group's own rate; warmup goes up from zero in a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from transept.discovery import load_object, registry
from transept.errors import ConfigError, UnknownArgumentError

from .by_name import record_of
from .greedy import GreedyLR

__all__ = [
    "constant",
    "constant_with_warmup",
    "cosine",
    "cosine_warmup_with_min_lr",
    "cosine_with_min_lr",
    "cosine_with_restarts",
    "get_constant_schedule",
    "get_constant_schedule_with_warmup",
    "get_cosine_schedule_with_warmup",
    "get_cosine_with_hard_restarts_schedule_with_warmup",
    "get_inverse_sqrt_schedule",
    "get_linear_schedule_with_warmup",
    "get_polynomial_decay_schedule_with_warmup",
    "get_scheduler",
    "get_wsd_schedule",
    "greedy",
    "inverse_sqrt",
    "linear",
    "polynomial",
    "reduce_lr_on_plateau",
    "warmup_stable_decay",
]

_SHAPES = ("linear", "cosine", "1-sqrt")


def get_scheduler(
    name: str,
    optimizer: Optimizer,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: dict[str, Any] | None = None,
) -> Any:
    """The schedule that an installed plugin offers under a name.

    Args:
        num_warmup_steps, num_training_steps: steps of the optimizer; not every schedule needs them.
        scheduler_specific_kwargs: options of the schedule, as `lr_scheduler_kwargs` gives them.

    Raises:
        PluginNotFoundError: no such schedule. ConfigError: it lacks a number of steps. UnknownArgumentError: no such option.
    """
    key, record = record_of("schedulers", str(name))
    make = load_object(record.scheduler, owner=registry.owner("schedulers", key))
    options = dict(scheduler_specific_kwargs or {})
    try:
        return make(optimizer, num_warmup_steps=num_warmup_steps, num_training_steps=num_training_steps, **options)
    except TypeError as error:
        raise UnknownArgumentError(f"The schedule `{name}` does not take `lr_scheduler_kwargs` {options}: {error}") from error


def _scheduled(optimizer: Optimizer, factor: Callable[[int], float], last_epoch: int = -1) -> LambdaLR:
    return LambdaLR(optimizer, factor, last_epoch)


def _needed(name: str, **steps: int | None) -> list[int]:
    for argument, value in steps.items():
        if value is None:
            raise ConfigError(f"The schedule `{name}` needs `{argument}`.")
    return [int(value) for value in steps.values() if value is not None]


def _warming(step: int, warmup: int) -> float | None:
    """The factor while warming up, None after it."""
    return step / max(1, warmup) if step < warmup else None


def _progress(step: int, warmup: int, total: int) -> float:
    """How much of what follows the warmup is done; it may pass 1."""
    return (step - warmup) / max(1, total - warmup)


def _half_cosine(progress: float, cycles: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * cycles * 2.0 * progress))


# -- the shapes: a factor for each step ------------------------------------------------------------------------------


def _constant_factor(step: int, warmup: int) -> float:
    rising = _warming(step, warmup)
    return 1.0 if rising is None else rising


def _linear_factor(step: int, warmup: int, total: int) -> float:
    rising = _warming(step, warmup)
    return max(0.0, (total - step) / max(1, total - warmup)) if rising is None else rising


def _cosine_factor(step: int, warmup: int, total: int, cycles: float, least: float = 0.0) -> float:
    rising = _warming(step, warmup)
    if rising is not None:
        return rising
    return max(0.0, _half_cosine(_progress(step, warmup, total), cycles) * (1 - least) + least)


def _restarting_factor(step: int, warmup: int, total: int, cycles: float) -> float:
    rising = _warming(step, warmup)
    if rising is not None:
        return rising
    progress = _progress(step, warmup, total)
    return 0.0 if progress >= 1.0 else max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((cycles * progress) % 1.0))))


def _polynomial_factor(step: int, warmup: int, total: int, end: float, power: float, start: float) -> float:
    rising = _warming(step, warmup)
    if rising is not None:
        return rising
    if step > total:
        return end / start
    left = 1 - (step - warmup) / max(1, total - warmup)
    return ((start - end) * left**power + end) / start


def _inverse_sqrt_factor(step: int, warmup: int, timescale: int) -> float:
    rising = _warming(step, warmup)
    return 1.0 / math.sqrt((step + timescale - warmup) / timescale) if rising is None else rising


def _raised_cosine_factor(step: int, warmup: int, total: int, cycles: float, least: float, first: float | None) -> float:
    """A cosine whose warmup ends at the full rate and does not begin at zero."""
    if step < warmup:
        if first is None:
            return (step + 1.0) / max(1.0, warmup)
        return first + (1.0 - first) * step / max(1, warmup - 1)
    progress = (step - warmup + 1.0) / max(1.0, total - warmup)
    return max(0.0, _half_cosine(progress, cycles) * (1 - least) + least)


def _three_stages_factor(
    step: int, warmup: int, stable: int, decay: int, up: str, down: str, least: float, cycles: float
) -> float:
    if step < warmup:
        progress = step / max(1, warmup)
        shape = {
            "linear": progress,
            "cosine": 0.5 * (1.0 - math.cos(math.pi * progress)),
            "1-sqrt": 1 - math.sqrt(1 - progress),
        }
        return max(0.0, shape[up] * (1.0 - least) + least)
    if step < warmup + stable:
        return 1.0
    if step < warmup + stable + decay:
        progress = (step - warmup - stable) / max(1, decay)
        shape = {"linear": 1.0 - progress, "cosine": _half_cosine(progress, cycles), "1-sqrt": 1.0 - math.sqrt(progress)}
        return max(0.0, shape[down] * (1.0 - least) + least)
    return least


# -- the peer's functions --------------------------------------------------------------------------------------------


def get_constant_schedule(optimizer: Optimizer, last_epoch: int = -1) -> LambdaLR:
    """The rate of the optimizer, always."""
    return _scheduled(optimizer, partial(_constant_factor, warmup=0), last_epoch)


def get_constant_schedule_with_warmup(optimizer: Optimizer, num_warmup_steps: int, last_epoch: int = -1) -> LambdaLR:
    """Up to the optimizer's rate, then that."""
    return _scheduled(optimizer, partial(_constant_factor, warmup=num_warmup_steps), last_epoch)


def get_linear_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, last_epoch: int = -1
) -> LambdaLR:
    """Up, then down to zero in a straight line."""
    return _scheduled(optimizer, partial(_linear_factor, warmup=num_warmup_steps, total=num_training_steps), last_epoch)


def get_cosine_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5, last_epoch: int = -1
) -> LambdaLR:
    """Up, then along `num_cycles` of a cosine: 0.5 ends at zero."""
    factor = partial(_cosine_factor, warmup=num_warmup_steps, total=num_training_steps, cycles=num_cycles)
    return _scheduled(optimizer, factor, last_epoch)


def get_cosine_with_hard_restarts_schedule_with_warmup(
    optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: int = 1, last_epoch: int = -1
) -> LambdaLR:
    """Up, then `num_cycles` half cosines, each from the full rate to zero (https://arxiv.org/abs/1608.03983)."""
    factor = partial(_restarting_factor, warmup=num_warmup_steps, total=num_training_steps, cycles=num_cycles)
    return _scheduled(optimizer, factor, last_epoch)


def get_polynomial_decay_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    lr_end: float = 1e-7,
    power: float = 1.0,
    last_epoch: int = -1,
) -> LambdaLR:
    """Up, then down to `lr_end` as the given power of what is left.

    Raises: ConfigError when `lr_end` is not below the optimizer's rate.
    """
    start = optimizer.defaults["lr"]
    if not start > lr_end:
        raise ConfigError(f"`lr_end` is {lr_end}: it must be below the learning rate, {start}.")
    shape = {"warmup": num_warmup_steps, "total": num_training_steps, "end": lr_end, "power": power, "start": start}
    return _scheduled(optimizer, partial(_polynomial_factor, **shape), last_epoch)


def get_inverse_sqrt_schedule(
    optimizer: Optimizer, num_warmup_steps: int, timescale: int | None = None, last_epoch: int = -1
) -> LambdaLR:
    """Up, then one over the root of the step; `timescale` is the warmup unless given, 10,000 without one."""
    scale = timescale or num_warmup_steps or 10_000
    return _scheduled(optimizer, partial(_inverse_sqrt_factor, warmup=num_warmup_steps, timescale=scale), last_epoch)


def get_wsd_schedule(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_decay_steps: int,
    num_training_steps: int | None = None,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
) -> LambdaLR:
    """Up, level, down; then `min_lr_ratio` of the rate. What is level is what is left, unless given.

    Raises: ConfigError for a shape that is none of linear, cosine and 1-sqrt, or without a number of steps.
    """
    for argument, shape in (("warmup_type", warmup_type), ("decay_type", decay_type)):
        if shape not in _SHAPES:
            raise ConfigError(f"`{argument}` is `{shape}`: it must be one of {', '.join(_SHAPES)}.")
    if num_stable_steps is None:
        (total,) = _needed("warmup_stable_decay", num_training_steps=num_training_steps)
        num_stable_steps = total - num_warmup_steps - num_decay_steps
    return _scheduled(
        optimizer,
        partial(
            _three_stages_factor,
            warmup=num_warmup_steps,
            stable=num_stable_steps,
            decay=num_decay_steps,
            up=warmup_type,
            down=decay_type,
            least=min_lr_ratio,
            cycles=num_cycles,
        ),
        last_epoch,
    )


def _least_rate(name: str, optimizer: Optimizer, min_lr: float | None, min_lr_rate: float | None) -> float:
    if (min_lr is None) == (min_lr_rate is None):
        raise ConfigError(f"The schedule `{name}` takes one of `min_lr` and `min_lr_rate` in `lr_scheduler_kwargs`.")
    return min_lr_rate if min_lr_rate is not None else float(min_lr or 0.0) / optimizer.defaults["lr"]


# -- the plugins -----------------------------------------------------------------------------------------------------


def constant(optimizer: Optimizer, *, num_warmup_steps: int | None = None, num_training_steps: int | None = None) -> LambdaLR:
    return get_constant_schedule(optimizer)


def constant_with_warmup(
    optimizer: Optimizer, *, num_warmup_steps: int | None = None, num_training_steps: int | None = None
) -> LambdaLR:
    return get_constant_schedule_with_warmup(optimizer, *_needed("constant_with_warmup", num_warmup_steps=num_warmup_steps))


def _two_counts(name: str, make: Callable[..., LambdaLR]) -> Callable[..., LambdaLR]:
    """A plugin that takes both numbers of steps, and options of its own."""

    def plugin(
        optimizer: Optimizer, *, num_warmup_steps: int | None = None, num_training_steps: int | None = None, **options: Any
    ) -> LambdaLR:
        counts = _needed(name, num_warmup_steps=num_warmup_steps, num_training_steps=num_training_steps)
        return make(optimizer, *counts, **options)

    plugin.__name__ = plugin.__qualname__ = name
    plugin.__doc__ = make.__doc__
    return plugin


linear = _two_counts("linear", get_linear_schedule_with_warmup)
cosine = _two_counts("cosine", get_cosine_schedule_with_warmup)
cosine_with_restarts = _two_counts("cosine_with_restarts", get_cosine_with_hard_restarts_schedule_with_warmup)
polynomial = _two_counts("polynomial", get_polynomial_decay_schedule_with_warmup)


def inverse_sqrt(
    optimizer: Optimizer,
    *,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    timescale: int | None = None,
) -> LambdaLR:
    (warmup,) = _needed("inverse_sqrt", num_warmup_steps=num_warmup_steps)
    return get_inverse_sqrt_schedule(optimizer, warmup, timescale)


def cosine_with_min_lr(
    optimizer: Optimizer,
    *,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> LambdaLR:
    name = "cosine_with_min_lr"
    warmup, total = _needed(name, num_warmup_steps=num_warmup_steps, num_training_steps=num_training_steps)
    least = _least_rate(name, optimizer, min_lr, min_lr_rate)
    return _scheduled(optimizer, partial(_cosine_factor, warmup=warmup, total=total, cycles=num_cycles, least=least))


def cosine_warmup_with_min_lr(
    optimizer: Optimizer,
    *,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
    warmup_lr_rate: float | None = None,
) -> LambdaLR:
    name = "cosine_warmup_with_min_lr"
    warmup, total = _needed(name, num_warmup_steps=num_warmup_steps, num_training_steps=num_training_steps)
    least = _least_rate(name, optimizer, min_lr, min_lr_rate)
    shape = {"warmup": warmup, "total": total, "cycles": num_cycles, "least": least, "first": warmup_lr_rate}
    return _scheduled(optimizer, partial(_raised_cosine_factor, **shape))


def warmup_stable_decay(
    optimizer: Optimizer, *, num_warmup_steps: int | None = None, num_training_steps: int | None = None, **options: Any
) -> LambdaLR:
    (warmup,) = _needed("warmup_stable_decay", num_warmup_steps=num_warmup_steps)
    return get_wsd_schedule(optimizer, warmup, num_training_steps=num_training_steps, **options)


def reduce_lr_on_plateau(
    optimizer: Optimizer, *, num_warmup_steps: int | None = None, num_training_steps: int | None = None, **options: Any
) -> ReduceLROnPlateau:
    """Options are torch's."""
    return ReduceLROnPlateau(optimizer, **options)


def greedy(
    optimizer: Optimizer, *, num_warmup_steps: int | None = None, num_training_steps: int | None = None, **options: Any
) -> GreedyLR:
    """Options are those of `GreedyLR`."""
    return GreedyLR(optimizer, **options)
