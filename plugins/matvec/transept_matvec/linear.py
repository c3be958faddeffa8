"""A linear layer that keeps every core busy when there is only one row to multiply."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MatvecLinear"]

_SMALL = 1 << 16
"""Weights of fewer elements stay in a cache of the processor, and are read fast enough by one core."""


class MatvecLinear(nn.Linear):
    """`torch.nn.Linear`, whose product with a single row in float32 on a CPU is shared among the cores.

    Reading the weight is all the work that such a product has. Some builds of torch do it on one core (the matrix-vector
    product of their linear algebra library has one thread on some processors), with half of the memory's bandwidth. The halves
    of the weight as a batch of two products keep two cores busy; more parts gain nothing, since two read as fast as memory gives.

    Every other call (more rows, another dtype or device, gradients, graphs that are traced) is `torch.nn.Linear`'s own.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """(…, in_features) to (…, out_features)."""
        weight, bias = self.weight, self.bias
        if input.numel() == self.in_features and self._shares(input, weight):
            halves = weight.view(2, -1, self.in_features).transpose(1, 2)  # (2, in, out / 2)
            row = input.reshape(1, 1, -1).expand(2, 1, -1)
            product = torch.bmm(row, halves).view(*input.shape[:-1], -1)
            return product if bias is None else product + bias
        return F.linear(input, weight, bias)

    @staticmethod
    def _shares(row: Tensor, weight: Tensor) -> bool:
        return (
            row.dtype is torch.float32
            and weight.dtype is torch.float32
            and row.device.type == "cpu"
            and weight.shape[0] % 2 == 0
            and weight.numel() >= _SMALL
            and weight.is_contiguous()
            and not (torch.is_grad_enabled() and (row.requires_grad or weight.requires_grad))
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()
            and not torch.is_autocast_enabled("cpu")
        )
