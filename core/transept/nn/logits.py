"""Which positions a language-model head is asked about."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError

__all__ = ["keep_positions"]


def keep_positions(hidden_states: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """The hidden states that logits are wanted for.

    Args:
        hidden_states: (batch, seq, hidden_size).
        logits_to_keep: a number: the last so many positions, 0 for all; a 1-D tensor: these positions of every row; a 2-D tensor
            of integers: these positions of each row; a 2-D tensor of bools: those where it is True, of all rows in one line.

    Returns:
        (batch, kept, hidden_size); for a tensor of bools (kept, hidden_size).

    Raises:
        InputError: a negative number.
    """
    if isinstance(logits_to_keep, Tensor):
        if logits_to_keep.dim() == 2 and logits_to_keep.dtype == torch.bool:
            return hidden_states[logits_to_keep]
        if logits_to_keep.dim() == 2:
            return torch.take_along_dim(hidden_states, logits_to_keep[..., None], dim=1)
        return hidden_states[:, logits_to_keep]
    if logits_to_keep < 0:
        raise InputError(f"`logits_to_keep` is {logits_to_keep}: it must be 0 (all) or more.")
    return hidden_states[:, -logits_to_keep:] if logits_to_keep else hidden_states
