"""The kernel `paged`: over views of the blocks where rows stand in one piece, over one copy where not, or block by block."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from transept.attention import MaskSpec
from transept.attention.sdpa import sdpa_attention
from transept.errors import AttentionError

from .states import PagedStates

__all__ = ["attend_by_blocks", "paged_kernel"]

Read = Callable[[int, int], tuple[Tensor, Tensor]]

_QUERIES, _KEYS = 512, 256
"""How many at a time, block by block."""


def paged_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: MaskSpec,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[Tensor, None]:
    """Attend; arguments as in `transept.attention.eager.eager_attention`. Keys and values may be `PagedStates`, or tensors.

    Raises:
        AttentionError: dropout or the weights are asked for.
    """
    if dropout > 0.0 or need_weights:
        raise AttentionError("`paged` has no dropout and returns no weights: use `eager`.", kernel="paged")
    if softcap is None and sinks is None:
        keys, values = (each.whole() if isinstance(each, PagedStates) else each for each in (key, value))
        return sdpa_attention(query, keys, values, mask=mask, scale=scale)
    return attend_by_blocks(query, _reader(key, value), mask, scale=scale, softcap=softcap, sinks=sinks), None


def _reader(key: Tensor, value: Tensor) -> Read:
    def read(start: int, stop: int) -> tuple[Tensor, Tensor]:
        keys, values = (
            each.part(start, stop) if isinstance(each, PagedStates) and not each.is_whole else each[:, :, start:stop]
            for each in (key, value)
        )
        return keys, values

    return read


def attend_by_blocks(
    query: Tensor,
    read: Read,
    mask: MaskSpec,
    *,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """The reference for paged attention: a softmax whose sum is kept while blocks of keys go by (https://arxiv.org/abs/1805.02867).

    Args:
        query: (batch, heads, query, head_dim).
        read: (start, stop) to keys and values of those tokens, (batch, kv_heads, stop - start, head_dim) each.

    Returns:
        (batch, heads, query, head_dim) of the values. No more than 512 × 256 scores of a head are held at a time.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    runs = []
    for queries, keys, part in mask.blocks(_QUERIES):
        mixed, total, most = _mix(query[:, :, queries] * scale, read, keys, part, softcap)
        if sinks is not None:
            total = total + torch.exp(sinks.to(most).view(-1, 1, 1) - most)
        output = mixed / torch.where(total > 0, total, 1.0)
        _, empty = part.hidden(query.device)
        runs.append(output if empty is None else output.masked_fill(empty, 0.0))
    return torch.cat(runs, 2).to(query.dtype)


def _mix(query: Tensor, read: Read, keys: slice, mask: MaskSpec, softcap: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted sums of the values, sums of the weights, and the greatest scores, by which both are to be read."""
    hidden, _ = mask.hidden(query.device)
    bias = mask.bias if mask.bias is not None and mask.bias.is_floating_point() else None
    mixed = total = torch.zeros((), device=query.device)
    most = torch.full((*query.shape[:3], 1), -1e30, device=query.device)
    for start in range(keys.start, keys.stop, _KEYS):
        stop = min(start + _KEYS, keys.stop)
        key, value = read(start, stop)
        groups = (key.shape[1], query.shape[1] // key.shape[1])
        scores = torch.einsum("bngqd,bnkd->bngqk", query.unflatten(1, groups), key).flatten(1, 2)
        scores = scores if scores.dtype == torch.float64 else scores.float()
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        place = slice(start - keys.start, stop - keys.start)
        if bias is not None:
            scores = scores + _columns(bias, place).to(scores).clamp(min=-1e30)
        if hidden is not None:
            scores = scores.masked_fill(_columns(hidden, place), -torch.inf)
        highest = torch.maximum(most.to(scores), scores.amax(-1, keepdim=True))
        weights, kept = torch.exp(scores - highest), torch.exp(most - highest)
        summed = torch.einsum("bngqk,bnkd->bngqd", weights.unflatten(1, groups), value.to(weights)).flatten(1, 2)
        mixed, total, most = mixed * kept + summed, total * kept + weights.sum(-1, keepdim=True), highest
    return mixed, total, most


def _columns(tensor: Tensor, place: slice) -> Tensor:
    return tensor[..., place] if tensor.shape[-1] > 1 else tensor
