"""Adafactor (https://arxiv.org/abs/1804.04235): Adam's second moment as a row and a column, so that it costs almost no memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from transept.errors import ConfigError

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """The optimizer of the paper, with its own rate or one from outside.

    Args:
        lr: the rate from outside; None with `relative_step`.
        eps: added to squared gradients, and the least scale of a parameter.
        clip_threshold: largest root mean square of an update.
        decay_rate: exponent of the second moment's decay.
        beta1: decay of a first moment; None: none is kept.
        scale_parameter: the rate of a parameter is scaled by its root mean square.
        relative_step, warmup_init: the rate follows from the step; it begins low.

    Raises: ConfigError when `lr` is given with `relative_step`, or `warmup_init` without it.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | None = None,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ) -> None:
        if lr is not None and relative_step:
            raise ConfigError("Adafactor: `lr` and `relative_step=True` exclude each other.")
        if warmup_init and not relative_step:
            raise ConfigError("Adafactor: `warmup_init=True` needs `relative_step=True`.")
        defaults = {
            "lr": lr,
            "eps": tuple(eps),
            "clip_threshold": clip_threshold,
            "decay_rate": decay_rate,
            "beta1": beta1,
            "weight_decay": weight_decay,
            "scale_parameter": scale_parameter,
            "relative_step": relative_step,
            "warmup_init": warmup_init,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; moments are kept in float32 whatever the parameters are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        half = parameter.dtype in (torch.float16, torch.bfloat16)
        grad = parameter.grad.float() if half else parameter.grad  # type: ignore[union-attr]
        exact = parameter.float() if half else parameter
        state = self.state[parameter]
        if not state:
            self._begin(state, grad, group)
        state["step"] += 1
        rate = self._rate(group, state["step"], exact)
        beta2 = 1.0 - math.pow(state["step"], group["decay_rate"])
        squared = grad**2 + group["eps"][0]
        if grad.dim() >= 2:
            # the moment is the outer product of a row of means and a column of means
            row, column = state["exp_avg_sq_row"], state["exp_avg_sq_col"]
            row.mul_(beta2).add_(squared.mean(dim=-1), alpha=1.0 - beta2)
            column.mul_(beta2).add_(squared.mean(dim=-2), alpha=1.0 - beta2)
            by_row = (row / row.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
            update = by_row * column.unsqueeze(-2).rsqrt() * grad
        else:
            moment = state["exp_avg_sq"]
            moment.mul_(beta2).add_(squared, alpha=1.0 - beta2)
            update = moment.rsqrt() * grad
        update.div_((_rms(update) / group["clip_threshold"]).clamp_(min=1.0)).mul_(rate)
        if group["beta1"] is not None:
            update = state["exp_avg"].mul_(group["beta1"]).add_(update, alpha=1 - group["beta1"])
        if group["weight_decay"]:
            exact.mul_(1 - group["weight_decay"] * rate)
        exact.sub_(update)
        if half:
            parameter.copy_(exact)

    @staticmethod
    def _begin(state: dict[str, Any], grad: Tensor, group: dict[str, Any]) -> None:
        state["step"] = 0
        if group["beta1"] is not None:
            state["exp_avg"] = torch.zeros_like(grad)
        if grad.dim() >= 2:
            state["exp_avg_sq_row"] = grad.new_zeros(grad.shape[:-1])
            state["exp_avg_sq_col"] = grad.new_zeros(grad.shape[:-2] + grad.shape[-1:])
        else:
            state["exp_avg_sq"] = torch.zeros_like(grad)

    @staticmethod
    def _rate(group: dict[str, Any], step: int, parameter: Tensor) -> Any:
        rate = group["lr"]
        if group["relative_step"]:
            rate = min(1e-6 * step if group["warmup_init"] else 1e-2, 1.0 / math.sqrt(step))
        return rate * max(group["eps"][1], float(_rms(parameter))) if group["scale_parameter"] else rate


def _rms(tensor: Tensor) -> Tensor:
    return tensor.norm(2) / math.sqrt(tensor.numel())
