"""Numbers in 4 or 8 bits: groups of them share a lowest value and a step."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dequantize", "quantize"]


def quantize(states: Tensor, nbits: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of groups that lie along `dim`, from each group's lowest to its highest value.

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
    lowest, highest = exact.aminmax(dim=dim, keepdim=True)
    most = (1 << nbits) - 1
    # codes are chosen for the step and the lowest value as they are kept, so that rounding those adds no error of its own
    step = ((highest - lowest) / most).to(states.dtype)
    lowest = lowest.to(states.dtype)
    divisor = step.float()
    divisor = torch.where(divisor == 0, 1.0, divisor)
    codes = ((exact - lowest.float()) / divisor).round_().clamp_(0, most).to(torch.uint8)
    if nbits == 4:
        low, high = codes.chunk(2, dim)
        codes = low | (high << 4)
    return codes, step, lowest


def dequantize(codes: Tensor, step: Tensor, lowest: Tensor, nbits: int, dim: int, out: Tensor) -> None:
    """Write what `quantize` took into `out`, in its dtype."""
    step, lowest = step.to(out.dtype), lowest.to(out.dtype)
    if nbits == 8:
        torch.addcmul(lowest, codes.to(out.dtype), step, out=out)
        return
    half = codes.shape[dim]
    torch.addcmul(lowest, (codes & 15).to(out.dtype), step, out=out.narrow(dim, 0, half))
    torch.addcmul(lowest, (codes >> 4).to(out.dtype), step, out=out.narrow(dim, half, half))
