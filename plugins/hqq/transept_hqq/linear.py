"""A linear layer on HQQ's packed weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from transept.quantization import PackedLinear

from .packing import dtype_of, lines_of, parts_of, shifts_of, unpack

__all__ = ["HQQLinear", "Layout"]


@dataclass(frozen=True)
class Layout:
    """How the weight (rows, columns) is cut into groups: with axis 1 it is seen as (groups, group_size), with axis 0 as
    (group_size, groups), in the order of its elements."""

    rows: int
    columns: int
    bits: int
    group_size: int
    axis: int

    def divides(self) -> bool:
        """Whether groups, and the lines that share an element, come out even."""
        even = self.rows * self.columns % self.group_size == 0
        return even and (self.bits == 3 or self.lines % parts_of(self.bits) == 0)

    @property
    def lines(self) -> int:
        return self.rows * self.columns // self.group_size if self.axis == 1 else self.group_size

    @property
    def width(self) -> int:
        return self.rows * self.columns // self.lines

    @property
    def scales(self) -> tuple[int, int]:
        return (self.lines, 1) if self.axis == 1 else (1, self.width)


class HQQLinear(PackedLinear):
    """A linear layer whose weight is `(integer - zero) * scale`.

    Attributes:
        W_q: (packed lines, width), uint8; int32 with 3 bits.
        scale, zero: (lines, 1) with axis 1, (1, width) with axis 0; any float dtype.
    """

    packing = "hqq"
    W_q: Tensor
    scale: Tensor
    zero: Tensor

    def __init__(self, layout: Layout, bias: Tensor | None, path: str = "") -> None:
        super().__init__(layout.columns, layout.rows, bias)
        self.layout, self.path = layout, path
        self.register_buffer("W_q", torch.empty(lines_of(layout.lines, layout.bits), layout.width, dtype=dtype_of(layout.bits)))
        self.register_buffer("scale", torch.empty(layout.scales))
        self.register_buffer("zero", torch.empty(layout.scales))

    def unpack(self, rows: slice | Tensor) -> Tensor:
        """Rows of the weight: (…, in_features)."""
        layout = self.layout
        by_row = layout.axis == 1 and layout.columns % layout.group_size == 0
        if by_row and isinstance(rows, slice):
            start, stop, _ = rows.indices(self.out_features)
            return self._of_slice(start, stop).to(self.compute_dtype or torch.float32)
        ids = torch.arange(self.out_features, device=self.W_q.device)[rows] if isinstance(rows, slice) else rows
        if by_row:
            weight = self._of_lines(ids)
        elif layout.axis == 0 and layout.width % layout.columns == 0:
            weight = self._of_parts(ids)
        else:
            weight = self._whole()[ids]
        return weight.to(self.compute_dtype or torch.float32)

    def _of_lines(self, ids: Tensor) -> Tensor:
        """Each row is a number of lines."""
        count = self.in_features // self.layout.group_size
        lines = ids.unsqueeze(-1) * count + torch.arange(count, device=ids.device)  # (…, count)
        step = len(self.W_q)
        integers = self._integers(self.W_q[lines % step], lines // step)
        return ((integers - self.zero[lines].float()) * self.scale[lines].float()).flatten(-2)

    def _of_slice(self, start: int, stop: int) -> Tensor:
        """As `_of_lines` for rows that follow each other: nothing is gathered."""
        count, step = self.in_features // self.layout.group_size, len(self.W_q)
        first, last = start * count, stop * count
        mask, found = (1 << self.layout.bits) - 1, []
        for part in range(first // step, -(-last // step)):
            packed = self.W_q[max(first - part * step, 0) : min(last - part * step, step)]
            found.append((packed >> self.layout.bits * (parts_of(self.layout.bits) - 1 - part)) & mask)
        integers = (found[0] if len(found) == 1 else torch.cat(found)).float()
        integers.sub_(self.zero[first:last].float()).mul_(self.scale[first:last].float())
        return integers.view(stop - start, self.in_features)

    def _of_parts(self, ids: Tensor) -> Tensor:
        """Each line is a number of rows."""
        count = self.layout.width // self.in_features
        line, place = ids // count, ids % count
        packed = self.W_q.view(-1, count, self.in_features)
        step = len(packed)
        integers = self._integers(packed[line % step, place], line // step)
        zero, scale = (one.view(count, self.in_features)[place].float() for one in (self.zero, self.scale))
        return (integers - zero) * scale

    def _integers(self, packed: Tensor, parts: Tensor) -> Tensor:
        """Of packed lines (…, n), the integers of the part that is named for each line, (…): floats, (…, n)."""
        shifts = shifts_of(self.layout.bits, packed.device).to(packed.dtype)[parts].unsqueeze(-1)
        return ((packed >> shifts) & ((1 << self.layout.bits) - 1)).float()

    def _whole(self) -> Tensor:
        integers = unpack(self.W_q, self.layout.bits, self.layout.lines).float()
        return ((integers - self.zero.float()) * self.scale.float()).view(self.out_features, self.in_features)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.layout.bits}, group_size={self.layout.group_size}, axis={self.layout.axis}"
