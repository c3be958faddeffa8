"""Relative position biases (https://arxiv.org/abs/1910.10683, §2.1): a learned number for each head and bucket of distances."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from transept.attention import MaskSpec

__all__ = ["add_position_bias", "relative_position_buckets"]


def relative_position_buckets(
    distance: Tensor, *, bidirectional: bool, num_buckets: int = 32, max_distance: int = 128
) -> Tensor:
    """Which bucket each distance falls into.

    Half of the buckets are for one distance each, the nearest ones; the others widen logarithmically up to `max_distance`, and
    the last also has whatever is farther away.

    Args:
        distance: integers of any shape, a key's position less its query's.
        bidirectional: the upper half of the buckets is for keys after the query; otherwise those all fall into bucket 0.

    Returns:
        LongTensor of the same shape, from 0 to `num_buckets - 1`.
    """
    first: Tensor | int = 0
    if bidirectional:
        num_buckets //= 2
        first = (distance > 0).long() * num_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = num_buckets // 2
    # in float32, and in this order: a distance at the edge of a bucket falls where it fell in training
    octaves = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    wide = (exact + (octaves * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return first + torch.where(distance < exact, distance, wide)


def add_position_bias(
    mask: MaskSpec, table: nn.Module, *, device: torch.device, bidirectional: bool, num_buckets: int, max_distance: int
) -> MaskSpec:
    """The mask with each head's position bias added to it; gradients flow to the table.

    Args:
        mask: its lengths and offset tell the distances. A bias that it has already is kept: added, and what it hides is hidden.
        table: an embedding of `num_buckets` rows, one column a head.
        device: where the queries are.
    """
    queries, keys = mask.query_length, mask.key_length
    last = mask.query_offset + queries - 1
    # the table is asked once for each distance, and not for each pair
    distances = torch.arange(-last, keys - mask.query_offset, device=device)  # (queries + keys - 1,)
    buckets = relative_position_buckets(
        distances, bidirectional=bidirectional, num_buckets=num_buckets, max_distance=max_distance
    )
    by_distance = table(buckets).t()  # (heads, queries + keys - 1)
    pair = torch.arange(keys, device=device) + torch.arange(queries - 1, -1, -1, device=device)[:, None]
    bias = by_distance[:, pair][None]  # (1, heads, query, key)
    given = mask.bias
    if given is not None and given.dtype == torch.bool:
        bias = bias.masked_fill(~given, -torch.inf)
    elif given is not None:
        bias = (bias + given).masked_fill(given <= torch.finfo(given.dtype).min, -torch.inf)
    return replace(mask, bias=bias)
