"""A linear layer on 8-bit weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from transept.quantization import PackedLinear

__all__ = ["Int8Linear", "pack"]

_ROWS = 1 << 22
"""Weights that are packed at a time: what is needed meanwhile stays within some tens of MiB."""


class Int8Linear(PackedLinear):
    """A linear layer whose weight is `qweight * scales`, group by group.

    Attributes:
        qweight: (out_features, in_features), int8, from -127 to 127.
        scales: (out_features, in_features / group_size), float16.
    """

    packing = "int8"
    scales: Tensor

    def __init__(self, in_features: int, out_features: int, bias: Tensor | None, group_size: int, path: str = "") -> None:
        super().__init__(in_features, out_features, bias)
        self.group_size = group_size
        self.path = path  # for what is said when something is wrong with the weight
        qweight = torch.empty(out_features, in_features, dtype=torch.int8)
        scales = torch.empty(out_features, in_features // group_size, dtype=torch.float16)
        self.qweight = nn.Parameter(qweight, requires_grad=False)
        self.register_buffer("scales", scales)

    def unpack(self, rows: slice | Tensor) -> Tensor:
        """Rows of the weight: (…, in_features)."""
        qweight = self.qweight[rows].unflatten(-1, (-1, self.group_size))
        return (qweight * self.scales[rows].float().unsqueeze(-1)).flatten(-2).to(self.compute_dtype or torch.float32)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves go through; a change of the model's dtype leaves the scales as they are: bfloat16 would coarsen the weights."""
        scales = self.scales
        super()._apply(fn, recurse)
        if self.scales.dtype != scales.dtype:
            self.scales = scales.to(self.scales.device)
        return self

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, group_size={self.group_size}"


def pack(weight: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """The integers and scales that stand for a weight.

    Args:
        weight: (rows, columns), any float dtype; finite.
        group_size: divides the columns.

    Returns:
        qweight: (rows, columns), int8; scales: (rows, columns / group_size), float16.

    Raises:
        ValueError: a value is not finite, or too large for a scale in float16.
    """
    rows, columns = weight.shape
    qweight = torch.empty(rows, columns, dtype=torch.int8, device=weight.device)
    scales = torch.empty(rows, columns // group_size, dtype=torch.float16, device=weight.device)
    step = max(1, _ROWS // max(1, columns))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        groups = weight[part].float().unflatten(1, (-1, group_size))
        exact = groups.abs().amax(-1) / 127
        scale = exact.half()
        # below float16's normal range a scale rounded down would cut the largest weights off
        above = (scale.view(torch.int16) + 1).view(torch.float16)
        scale = torch.where(scale.float() * 127.4 < exact * 127, above, scale)
        if not torch.isfinite(scale).all():
            wrong = "values that are not finite" if not torch.isfinite(groups).all() else "values beyond 8.3 million"
            raise ValueError(f"the weight holds {wrong}")
        scales[part] = scale
        inverse = torch.where(scale == 0, 0.0, 1 / scale.float()).unsqueeze(-1)
        qweight[part] = (groups * inverse).round_().clamp_(-127, 127).flatten(1).to(torch.int8)
    return qweight, scales
