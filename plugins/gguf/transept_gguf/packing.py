"""From floats to GGML's blocks: the types whose scales follow from the extremes of a block.

The rules are ggml's reference quantizers (`quantize_row_*_ref`, https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c);
each step is rounded in float32 as theirs is, so that the bytes are equal. K-quants search for their scales and are only read.

Each `_pack` function takes `values` of shape (n, block_size), float32, and fills `out` of shape (n, type_size), uint8.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from transept.errors import QuantizationError

from .blocks import BlockType

__all__ = ["PACKED_FROM_FLOATS", "pack"]

_CHUNK = 1 << 19
"""Weights that are packed at a time."""


def pack(weight: Tensor, kind: BlockType) -> Tensor:
    """A weight's blocks.

    Args:
        weight: (rows, columns), any float dtype, finite; columns a multiple of the block size.

    Returns:
        (rows, bytes of a row), uint8, on the same device.

    Raises:
        QuantizationError: the type is only read, or the weight holds what its scales cannot say.
    """
    into = _PACKERS.get(kind.name)
    if into is None:
        raise QuantizationError(
            f"{kind.name} blocks can be read from a GGUF file, and are not made of floats here: choose one of {', '.join(_PACKERS)}."
        )
    rows, columns = weight.shape
    values = weight.detach().contiguous().view(-1, kind.block_size)
    out = torch.empty(rows * columns // kind.block_size, kind.type_size, dtype=torch.uint8, device=weight.device)
    step = _CHUNK // kind.block_size
    for start in range(0, len(values), step):
        into(values[start : start + step].float(), out[start : start + step])
    return out.view(rows, kind.row_bytes(columns))


def _put_float16(out: Tensor, at: int, values: Tensor) -> None:
    """Write (n, 1) float32 as float16 at byte `at` of each block."""
    half = values.to(torch.float16)
    if not torch.isfinite(half).all():
        raise QuantizationError(
            "A weight holds values that are not finite, or too large for a scale in float16: mend the checkpoint, or name the "
            "module in `modules_to_not_convert`."
        )
    out[:, at : at + 2] = half.view(torch.uint8)


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0.0, 1 / scale)


def _nibbles(quants: Tensor, out: Tensor) -> None:
    """Weights 0-15 in the low, 16-31 in the high halves of 16 bytes."""
    out.copy_((quants[:, :16] & 15) | (quants[:, 16:] << 4))


def _fifth_bits(quants: Tensor, out: Tensor) -> None:
    """Bit 4 of 32 weights into four bytes, the first weight's in the lowest bit."""
    weight_of = 1 << torch.arange(8, dtype=torch.uint8, device=out.device)
    out.copy_((((quants >> 4) & 1).view(-1, 4, 8) * weight_of).sum(-1).to(torch.uint8))


def _signed(values: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """Scale, (n, 1), and weights from 0 to 2 * half - 1: the value farthest from zero becomes 0, where zero is `half`."""
    farthest = values.gather(1, values.abs().argmax(1, keepdim=True))
    scale = farthest / -half
    quants = (values * _inverse(scale) + (half + 0.5)).to(torch.uint8).clamp_(max=2 * half - 1)
    return scale, quants


def _spread(values: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scale and minimum, (n, 1), and weights from 0 to `most`."""
    least = values.amin(1, keepdim=True)
    scale = (values.amax(1, keepdim=True) - least) / most
    quants = ((values - least) * _inverse(scale) + 0.5).to(torch.uint8).clamp_(max=most)
    return scale, least, quants


def _pack_q4_0(values: Tensor, out: Tensor) -> None:
    scale, quants = _signed(values, 8)
    _put_float16(out, 0, scale)
    _nibbles(quants, out[:, 2:])


def _pack_q4_1(values: Tensor, out: Tensor) -> None:
    scale, least, quants = _spread(values, 15)
    _put_float16(out, 0, scale)
    _put_float16(out, 2, least)
    _nibbles(quants, out[:, 4:])


def _pack_q5_0(values: Tensor, out: Tensor) -> None:
    scale, quants = _signed(values, 16)
    _put_float16(out, 0, scale)
    _fifth_bits(quants, out[:, 2:6])
    _nibbles(quants, out[:, 6:])


def _pack_q5_1(values: Tensor, out: Tensor) -> None:
    scale, least, quants = _spread(values, 31)
    _put_float16(out, 0, scale)
    _put_float16(out, 2, least)
    _fifth_bits(quants, out[:, 4:8])
    _nibbles(quants, out[:, 8:])


def _pack_q8_0(values: Tensor, out: Tensor) -> None:
    scale = values.abs().amax(1, keepdim=True) / 127
    scaled = values * _inverse(scale)
    # half away from zero, as C's roundf: torch rounds halves to even
    whole = scaled.abs().floor()
    quants = (whole + (scaled.abs() - whole >= 0.5)).copysign_(scaled)
    _put_float16(out, 0, scale)
    out[:, 2:] = quants.to(torch.int8).view(torch.uint8)


_PACKERS: dict[str, Callable[[Tensor, Tensor], None]] = {
    "Q4_0": _pack_q4_0,
    "Q4_1": _pack_q4_1,
    "Q5_0": _pack_q5_0,
    "Q5_1": _pack_q5_1,
    "Q8_0": _pack_q8_0,
}

PACKED_FROM_FLOATS = tuple(_PACKERS)
"""Types that `pack` makes."""
