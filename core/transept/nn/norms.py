"""Normalisation layers that torch lacks, or computes otherwise than checkpoints were trained."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["RMSNorm"]


class RMSNorm(nn.Module):
    """Root mean square normalisation over the last dimension (https://arxiv.org/abs/1910.07467).

    Statistics are taken in float32. A narrower dtype is rounded back before the weight multiplies it, as models in bfloat16
    were trained; torch's own kernel rounds once, after it.
    """

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(…, hidden_size) in, the same shape and dtype out."""
        weight = self.weight
        if hidden_states.dtype == weight.dtype == torch.float32:
            return F.rms_norm(hidden_states, weight.shape, weight, self.eps)
        normed = F.rms_norm(hidden_states.to(torch.float32), weight.shape, None, self.eps)
        return weight * normed.to(hidden_states.dtype)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, eps={self.eps}"
