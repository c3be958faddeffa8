"""Quantizing one linear layer with data: GPTQ (Frantar et al., arXiv:2210.17323)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.quantization import pack_bits

from .config import GPTQConfig

__all__ = ["GPTQCalibration", "calibrate"]

_BLOCK = 128
"""Columns whose errors are gathered before the columns after them are corrected, in one product."""


def calibrate(linear: nn.Linear, config: GPTQConfig) -> GPTQCalibration:
    """Begin to quantize a layer."""
    return GPTQCalibration(linear, config)


class GPTQCalibration:
    """Finds the integers whose product with the inputs seen is nearest to that of the weight.

    The squared error is a quadratic form of the Hessian 2 X X^T of the inputs. Columns are rounded one after another, and what each
    loses is made up for by those that are not rounded yet.
    """

    def __init__(self, linear: nn.Linear, config: GPTQConfig) -> None:
        self.linear, self.config = linear, config
        columns = linear.in_features
        self.hessian = torch.zeros(columns, columns, dtype=torch.float32, device=linear.weight.device)
        self.rows = 0

    @torch.no_grad()
    def add(self, inputs: Tensor) -> None:
        """Look at what the layer is given: (rows, in_features)."""
        inputs = inputs.reshape(-1, self.linear.in_features).float()
        if not len(inputs):
            return
        before, self.rows = self.rows, self.rows + len(inputs)
        self.hessian.mul_(before / self.rows).addmm_(inputs.T, inputs, alpha=2 / self.rows)

    @torch.no_grad()
    def finish(self) -> dict[str, Tensor]:
        """The tensors of a `GPTQLinear`.

        Raises:
            QuantizationError: nothing was seen, or what was is not finite.
        """
        if not self.rows:
            raise QuantizationError("GPTQ saw no inputs of the layer: `add` some before `finish`.")
        if not bool(torch.isfinite(self.hessian).all() & torch.isfinite(self.linear.weight).all()):
            raise QuantizationError("The layer's weight or inputs hold values that are not finite: GPTQ cannot round to them.")
        columns, bits = self.linear.in_features, self.config.bits
        size = columns if self.config.group_size == -1 else self.config.group_size
        order, group_of = self._order(size)
        factor = self._inverse_factor(order)
        weight = self.linear.weight.float()[:, order]
        integers = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
        groups = int(group_of.max()) + 1
        scales, zeros = (torch.empty(groups, len(weight), device=weight.device) for _ in range(2))
        starts = [0, *(torch.nonzero(group_of[1:] != group_of[:-1]).flatten() + 1).tolist(), columns]
        for start, end in pairwise(starts):
            scale, zero = self._grid(weight[:, start:end])
            scales[group_of[start]], zeros[group_of[start]] = scale, zero
            for first in range(start, end, _BLOCK):
                last = min(first + _BLOCK, end)
                integers[:, first:last] = self._round_block(weight, factor, first, last, scale, zero)
        back = torch.argsort(order)
        offset = 1 if self.config.format == "gptq" else 0
        stored = (zeros.to(torch.int32) - offset) & ((1 << bits) - 1)
        return {
            "qweight": pack_bits(integers[:, back].T, bits, 0),
            "qzeros": pack_bits(stored, bits),
            "scales": scales.half(),
            "g_idx": group_of[back].to(torch.int32),
        }

    def _order(self, size: int) -> tuple[Tensor, Tensor]:
        """The columns in the order in which they are rounded, and the group of each of these."""
        diagonal = self.hessian.diagonal()
        columns = len(diagonal)
        natural = torch.arange(columns, device=diagonal.device)
        if self.config.desc_act:
            return torch.argsort(diagonal, descending=True, stable=True), natural // size
        if not self.config.act_group_aware:
            return natural, natural // size
        groups = -(-columns // size)
        sums = torch.zeros(groups, device=diagonal.device).index_add_(0, natural // size, diagonal)
        rank = torch.argsort(torch.argsort(sums, descending=True, stable=True))[natural // size]
        inner = torch.argsort(diagonal, descending=True, stable=True)
        order = inner[torch.argsort(rank[inner], stable=True)]
        return order, order // size

    def _inverse_factor(self, order: Tensor) -> Tensor:
        """The upper Cholesky factor of the damped Hessian's inverse: its row i says how column i's error is made up for."""
        hessian = self.hessian[order][:, order]
        diagonal = hessian.diagonal()
        mean = float(diagonal.mean())
        diagonal[diagonal == 0] = mean or 1.0  # a column that was never active: rounded to nearest, and nobody minds
        for more in (1, 10, 100, 1000):
            damped = hessian.clone()
            damped.diagonal().add_(more * self.config.damp_percent * mean)
            lower, failed = torch.linalg.cholesky_ex(damped)
            if not failed:
                upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
                if not failed:
                    return upper
        raise QuantizationError(
            "The layer's inputs are too alike for GPTQ: the Hessian is not positive. Give more data, or a larger `damp_percent`."
        )

    def _grid(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero of each row for a group of columns, (rows, columns) to twice (rows,); scales are exact in float16."""
        top = (1 << self.config.bits) - 1
        low, high = columns.amin(1).clamp(max=0), columns.amax(1).clamp(min=0)
        if self.config.sym:
            high = torch.maximum(high, -low)
            low = -high
        scale = ((high - low) / top).half()
        scale = torch.where(high == low, torch.ones_like(scale), scale.clamp(min=torch.finfo(torch.float16).smallest_normal))
        if not bool(torch.isfinite(scale).all()):
            raise QuantizationError("The layer's weights are too large for scales in float16.")
        scale = scale.float()
        if self.config.sym:
            return scale, torch.full_like(scale, (top + 1) // 2)
        # readers of the older format differ about a zero of 0, which has nothing below to be stored as
        return scale, (-low / scale).round().clamp(1 if self.config.format == "gptq" else 0, top)

    def _round_block(self, weight: Tensor, factor: Tensor, first: int, last: int, scale: Tensor, zero: Tensor) -> Tensor:
        """Round some columns, and let those behind them make up for it; their integers."""
        top = (1 << self.config.bits) - 1
        block, inner = weight[:, first:last], factor[first:last, first:last]
        integers, errors = torch.empty_like(block), torch.empty_like(block)
        for index in range(last - first):
            column = block[:, index]
            integers[:, index] = (column / scale + zero).round().clamp(0, top)
            errors[:, index] = (column - (integers[:, index] - zero) * scale) / inner[index, index]
            block[:, index:] -= errors[:, index, None] * inner[index, index:]
        weight[:, last:] -= errors @ factor[first:last, last:]
        return integers.to(torch.uint8)
