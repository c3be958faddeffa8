"""From a `MaskSpec` to the functions of indices that torch's flex attention is made of.

Each works on scalars, as torch calls it, and on index tensors that broadcast. What differs from pass to pass is held in tensors:
a number would be compiled in, and each other one compiled anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import and_masks

from transept.attention import MaskSpec

__all__ = ["MaskMod", "ScoreMod", "labels_of", "mask_mod", "score_mod", "seen_in_bias"]

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(batch, head, query, key) indices to whether the query sees the key."""
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(score, batch, head, query, key) to the score that counts."""


def mask_mod(mask: MaskSpec, device: torch.device) -> MaskMod | None:
    """What `mask.materialize` says, as a function of indices; None: every query sees every key."""
    offset = torch.tensor(mask.query_offset, device=device)
    mods: list[MaskMod] = []
    if mask.kind == "causal":
        mods.append(_causal(offset))
    elif mask.kind == "prefix":
        mods.append(_prefix(offset, torch.as_tensor(mask.prefix_length, device=device).reshape(-1)))
    if mask.sliding_window is not None:
        mods.append(_window(offset, torch.tensor(mask.sliding_window, device=device)))
        if mask.kind != "causal":
            mods.append(_window_ahead(offset, torch.tensor(mask.sliding_window, device=device)))
    for labels in labels_of(mask, device):
        mods.append(_alike(offset, labels))
    if mask.keep is not None:
        mods.append(_kept(mask.keep.to(device)))
    if mask.bias is not None:
        mods.append(_unhidden(seen_in_bias(mask, device)))
    return and_masks(*mods) if mods else None


def score_mod(softcap: float | None, bias: Tensor | None) -> ScoreMod | None:
    """A soft cap, and then a bias (batch or 1, heads or 1, query or 1, key or 1); None: scores stay as they are."""

    def capped(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return torch.tanh(score / softcap) * softcap

    def biased(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return score + _at(bias, b, h, q, k)

    def both(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return biased(capped(score, b, h, q, k), b, h, q, k)

    return (None if bias is None else biased) if softcap is None else (capped if bias is None else both)


def labels_of(mask: MaskSpec, device: torch.device) -> list[Tensor]:
    """Numbers of the documents and of the chunks that positions are in, integers (rows or 1, positions) each."""
    found = []
    if mask.documents is not None:
        found.append(mask.documents.to(device))
    if mask.chunk is not None:
        positions = torch.arange(max(mask.key_length, mask.query_offset + mask.query_length), device=device)[None]
        if mask.keep is not None:  # chunks are counted from the first kept key
            positions = positions - mask.keep.to(device=device, dtype=torch.uint8).argmax(-1, keepdim=True)
        found.append(torch.div(positions, mask.chunk, rounding_mode="floor"))
    return found


def seen_in_bias(mask: MaskSpec, device: torch.device) -> Tensor:
    """BoolTensor (batch or 1, heads or 1, query or 1, key or 1): pairs that the bias does not hide."""
    assert mask.bias is not None
    bias = mask.bias.detach().to(device)
    seen = bias if bias.dtype == torch.bool else bias > torch.finfo(bias.dtype).min
    return seen[(None,) * (4 - seen.dim())]


def _causal(offset: Tensor) -> MaskMod:
    return lambda b, h, q, k: k <= q + offset


def _prefix(offset: Tensor, length: Tensor) -> MaskMod:
    return lambda b, h, q, k: k < torch.maximum(q + offset + 1, _at(length, b))


def _window(offset: Tensor, size: Tensor) -> MaskMod:
    return lambda b, h, q, k: k > q + offset - size


def _window_ahead(offset: Tensor, size: Tensor) -> MaskMod:
    return lambda b, h, q, k: k < q + offset + size


def _alike(offset: Tensor, labels: Tensor) -> MaskMod:
    return lambda b, h, q, k: _at(labels, b, q + offset) == _at(labels, b, k)


def _kept(keep: Tensor) -> MaskMod:
    return lambda b, h, q, k: _at(keep, b, k)


def _unhidden(seen: Tensor) -> MaskMod:
    return lambda b, h, q, k: _at(seen, b, h, q, k)


def _at(tensor: Any, *indices: Tensor) -> Tensor:
    """The entry at these indices, where a dimension of size 1 stands for any size."""
    wanted = tuple(index for index, size in zip(indices, tensor.shape, strict=True) if size > 1)
    found: Tensor = tensor.squeeze()
    return found[wanted] if wanted else found
