"""Numbers that follow from names and places alone: the same on every machine and for every version of torch."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn

__all__ = ["fill", "hashed", "token_ids"]

_WORD = 0xFFFFFFFF


def hashed(count: int, seed: int) -> Tensor:
    """`count` integers in [0, 2**32), int64: a hash of the place and the seed (the mixing function of splitmix32)."""
    x = (torch.arange(count, dtype=torch.int64) + seed * 7919 + 1) * 0x9E3779B9 & _WORD
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        x = ((x ^ (x >> shift)) * factor) & _WORD
    return x ^ (x >> 15)


def _uniform(shape: torch.Size, seed: int) -> Tensor:
    """Float64 in [-1, 1)."""
    return (hashed(shape.numel(), seed).double() / 2**31 - 1).reshape(shape)


def token_ids(shape: tuple[int, ...], among: list[int], seed: int = 0) -> Tensor:
    """Ids of that shape, each one of `among`."""
    return torch.tensor(among)[hashed(torch.Size(shape).numel(), seed) % len(among)].reshape(shape)


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Give every parameter values that follow from its name: gains around one, biases around zero, matrices by their width.

    No value is a round one, so a bias that is left out or a norm that is skipped shows.
    """
    for name, parameter in model.named_parameters():
        values = _uniform(parameter.shape, zlib.crc32(name.encode()))
        if parameter.dim() > 1:
            values = values * 1.7 / max(parameter.shape[-1], 1) ** 0.5  # a standard deviation of 1 / sqrt(width)
        elif name.endswith("weight"):
            values = 1.0 + 0.2 * values
        else:
            values = 0.2 * values
        parameter.copy_(values)
