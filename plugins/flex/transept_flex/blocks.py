"""Which blocks of queries and keys a kernel can leave out, or take without looking at each pair.

torch's `create_block_mask` asks for every pair, which at 32,768 tokens is a gigabyte of bools; here the parts of the mask are asked
for the bounds of each block.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from transept.attention import MaskSpec

from .mods import MaskMod, labels_of, seen_in_bias

__all__ = ["BLOCK", "block_mask", "blocks_of"]

BLOCK = 128
"""Queries, and keys, of a block: torch's own default, which its kernels are tuned for."""


def block_mask(mask: MaskSpec, mod: MaskMod, device: torch.device) -> BlockMask:
    """The mask in torch's form. Nothing is read back from the device."""
    possible, certain = blocks_of(mask, device)
    partial, partial_indices = _in_order(possible & ~certain)
    full, full_indices = _in_order(certain)
    return BlockMask.from_kv_blocks(
        partial, partial_indices, full, full_indices, BLOCK, mod, (mask.query_length, mask.key_length)
    )


def blocks_of(mask: MaskSpec, device: torch.device, size: int = BLOCK) -> tuple[Tensor, Tensor]:
    """Bounds on what each block holds.

    Returns:
        possible, certain: BoolTensors (rows or 1, heads or 1, query blocks, key blocks). False in the first: no pair sees. True in
        the second: the block is whole and all its pairs see. A block may be possible and hold nothing.
    """
    query_first, query_last, query_whole = _ranges(mask.query_length, size, device)
    key_first, key_last, key_whole = _ranges(mask.key_length, size, device)
    query_first, query_last = ((each + mask.query_offset)[:, None] for each in (query_first, query_last))  # (query blocks, 1)
    possible = torch.ones(1, 1, query_first.shape[0], key_first.shape[0], dtype=torch.bool, device=device)
    certain = (query_whole[:, None] & key_whole)[None, None]

    def both(may: Tensor, must: Tensor) -> None:
        nonlocal possible, certain
        possible, certain = possible & may, certain & must

    if mask.kind != "bidirectional":
        may, must = key_first <= query_last, key_last <= query_first
        if mask.kind == "prefix":
            length = torch.as_tensor(mask.prefix_length, device=device).view(-1, 1, 1, 1)
            may, must = may | (key_first < length), must | (key_last < length)
        both(may, must)
    if mask.sliding_window is not None:
        window = mask.sliding_window
        both(key_last > query_first - window, key_first > query_last - window)
        if mask.kind != "causal":
            both(key_first < query_last + window, key_last < query_first + window)
    for labels in labels_of(mask, device):
        own = labels.narrow(1, mask.query_offset, mask.query_length)
        (low, high), (key_low, key_high) = (_bounds(each, 1, size) for each in (own, labels[:, : mask.key_length]))
        low, high = low[:, None, :, None], high[:, None, :, None]
        key_low, key_high = key_low[:, None, None], key_high[:, None, None]
        both((low <= key_high) & (key_low <= high), (low == high) & (key_low == key_high) & (low == key_low))
    if mask.keep is not None:
        least, most = _bounds(mask.keep.to(device=device, dtype=torch.uint8), 1, size)
        both(most[:, None, None] > 0, least[:, None, None] > 0)
    if mask.bias is not None:
        least = most = seen_in_bias(mask, device).to(torch.uint8)
        for dim in (2, 3):
            if least.shape[dim] > 1:
                least, most = _bounds(least, dim, size)[0], _bounds(most, dim, size)[1]
        both(most > 0, least > 0)
    return possible, certain & possible


def _ranges(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of each block: its first index, its last, and whether it is as long as the others."""
    first = torch.arange(0, length, size, device=device)
    return first, (first + size - 1).clamp(max=length - 1), first + size <= length


def _bounds(tensor: Tensor, dim: int, size: int) -> tuple[Tensor, Tensor]:
    """The least and the greatest of each run of `size` along a dimension."""
    missing = -tensor.shape[dim] % size
    if missing:
        last = tensor.narrow(dim, tensor.shape[dim] - 1, 1)
        tensor = torch.cat((tensor, last.expand(*(missing if d == dim else -1 for d in range(tensor.dim())))), dim)
    runs = tensor.unflatten(dim, (-1, size))
    return runs.amin(dim + 1), runs.amax(dim + 1)


def _in_order(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks of keys each block of queries has, and their indices in front: int32."""
    indices = blocks.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32), indices.to(torch.int32)
