"""Numbers in 4 or 8 bits: groups of them share a lowest value and a step."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dequantize", "quantize"]

_FITS = 4


def quantize(states: Tensor, nbits: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of groups that lie along `dim`, each between a lowest value and that and `2**nbits - 1` steps.

    With 8 bits those are the group's lowest and highest. With 4 they are then fitted to its numbers by least squares, given the
    codes, and the codes to them, a few times: that takes an eighth off the squared error, at the cost of the outermost numbers.

    Args:
        states: floating, any shape; each line along `dim` is a group. For 4 bits its size is even.
        nbits: 4 or 8.
        dim: which dimension the groups lie along, negative.

    Returns:
        codes: uint8, shaped as `states`; with 4 bits `dim` is half as long: its first half is in the low bits, its second half
            in the high ones.
        step, lowest: of each group, of the dtype of `states`, with size 1 at `dim`.
    """
    exact = states.detach().float()  # in half precision the distance of two values may be infinite
    most = (1 << nbits) - 1
    lowest, highest = exact.aminmax(dim=dim, keepdim=True)
    codes, step, lowest = _round(exact, (highest - lowest) / most, lowest, most, states.dtype)
    for _ in range(_FITS if nbits == 4 else 0):
        middle, mean = codes.mean(dim, keepdim=True), exact.mean(dim, keepdim=True)
        spread = codes - middle
        slope = (spread * (exact - mean)).sum(dim, keepdim=True) / spread.square().sum(dim, keepdim=True).clamp_(min=1e-6)
        codes, step, lowest = _round(exact, slope, mean - slope * middle, most, states.dtype)
    packed = codes.to(torch.uint8)
    if nbits == 4:
        low, high = packed.chunk(2, dim)
        packed = low | (high << 4)
    return packed, step, lowest


def _round(exact: Tensor, step: Tensor, lowest: Tensor, most: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Codes for the step and lowest value as they are kept, so that rounding those adds no error of its own."""
    step, lowest = step.to(dtype), lowest.to(dtype)
    divisor = torch.where(step == 0, 1.0, step.float())
    return ((exact - lowest.float()) / divisor).round_().clamp_(0, most), step, lowest


def dequantize(codes: Tensor, step: Tensor, lowest: Tensor, nbits: int, dim: int, out: Tensor) -> None:
    """Write what `quantize` took into `out`, in its dtype."""
    step, lowest = step.to(out.dtype), lowest.to(out.dtype)
    if nbits == 8:
        torch.addcmul(lowest, codes.to(out.dtype), step, out=out)
        return
    half = codes.shape[dim]
    torch.addcmul(lowest, (codes & 15).to(out.dtype), step, out=out.narrow(dim, 0, half))
    torch.addcmul(lowest, (codes >> 4).to(out.dtype), step, out=out.narrow(dim, half, half))
