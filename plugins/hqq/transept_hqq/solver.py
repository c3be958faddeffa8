"""Scales and zeros without data: half-quadratic splitting (Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning
Models", 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["solve"]

_NORM = 0.7
"""p of the norm of the error that is made small: below 1, so outliers may stay far off."""
_BETA, _KAPPA, _STEPS = 10.0, 1.01, 20
"""Weight of the splitting's penalty, what it is multiplied by at each step, and steps at most."""


def solve(groups: Tensor, bits: int, axis: int, round_zero: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Integers, scales and zeros of a weight's groups.

    The error W - s (Q - z) is split from a second variable E that is its shrunken form; E and z have closed forms in turn, while s is
    that of the range.

    Args:
        groups: float32, each group along `axis`.

    Returns:
        Integers of the shape of `groups`, uint8; scale and zero with 1 at `axis`, float32: `(integers - zero) * scale`.
    """
    top = float((1 << bits) - 1)
    low, high = groups.amin(axis, keepdim=True), groups.amax(axis, keepdim=True)
    width = high - low
    inverse = torch.where(width <= 1e-4, torch.ones_like(width), top / width).clamp(max=2e4)  # half precision holds 1 / it
    zero = -low * inverse
    if round_zero:
        zero = zero.round()

    def integers(zero: Tensor) -> Tensor:
        return (groups * inverse + zero).round_().clamp_(0, top)

    best, least, beta = zero, None, _BETA
    for _ in range(_STEPS):
        rounded = integers(zero)
        error = groups - (rounded - zero) / inverse
        size = float(error.abs().mean())
        if least is not None and size >= least:
            break
        best, least = zero, size
        split = _shrink(error, beta)
        zero = (rounded - (groups - split) * inverse).mean(axis, keepdim=True)
        beta *= _KAPPA
    return integers(best).to(torch.uint8), 1 / inverse, best


def _shrink(error: Tensor, beta: float) -> Tensor:
    """The generalised soft threshold of an l_p norm: sign(x) * max(0, |x| - |x|**(p - 1) / beta)."""
    size = error.abs()
    return error.sign() * (size - size.pow(_NORM - 1) / beta).clamp_(min=0)
