"""Feed-forward blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .activations import activation

__all__ = ["GatedMLP", "in_chunks"]


class GatedMLP(nn.Module):
    """A gated feed-forward block: `down(act(gate(x)) * up(x))` (https://arxiv.org/abs/2002.05202)."""

    def __init__(self, hidden_size: int, intermediate_size: int, activation_name: str, *, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=bias)
        self.act_fn = activation(activation_name)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, hidden_size) in and out."""
        return self.down_proj(self.act_fn(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


def in_chunks(feed_forward: Callable[[Tensor], Tensor], hidden_states: Tensor, size: int) -> Tensor:
    """A feed-forward block of (batch, seq, hidden_size), `size` positions at a time to save memory; 0: all at once."""
    if not size:
        return feed_forward(hidden_states)
    return torch.cat([feed_forward(chunk) for chunk in hidden_states.split(size, dim=1)], dim=1)
