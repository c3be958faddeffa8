"""Masks of every kind, and what attention under them is: from `MaskSpec.materialize`, in float64."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from transept.attention import MaskSpec

__all__ = ["PADDING", "STEPS", "mask_of", "mask_parts", "random_mask", "reference"]

STEPS = {"train": (7, 7), "prefill": (7, 7), "decode": (1, 7), "verify": (3, 7)}
"""Lengths of the queries and the keys: a prompt, a token after a cache, and a few guessed tokens, or the rest of a prompt."""

PADDING = ("none", "left", "right")


def mask_of(kind: str, step: str, padding: str, batch: int = 2) -> MaskSpec:
    """A mask of one kind, over rows that are padded on a side."""
    queries, keys = STEPS[step]
    parts = mask_parts(kind, batch, queries, keys)
    if padding != "none":
        places = torch.arange(keys)
        first = places >= 2 if padding == "left" else places < keys - 2
        keep = torch.stack([first, *[torch.ones(keys, dtype=torch.bool)] * (batch - 1)])
        parts["keep"] = keep & parts["keep"] if "keep" in parts else keep
    return MaskSpec(query_length=queries, key_length=keys, query_offset=keys - queries, **parts)


def mask_parts(kind: str, batch: int, queries: int, keys: int, seed: int = 0) -> dict[str, Any]:
    """What makes a mask one of this kind; the parts that only restrict are put on a causal one."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "prefix":
        return {"kind": kind, "prefix_length": torch.arange(batch) + 2}
    if kind in ("causal", "bidirectional"):
        return {"kind": kind}
    part: Any
    if kind in ("sliding_window", "chunk"):
        part = 3
    elif kind == "keep":
        part = torch.rand(batch, keys, generator=generator) < 0.7
    elif kind == "documents":
        part = torch.arange(keys).expand(batch, -1) // (torch.arange(batch)[:, None] + 2)
    else:
        bias = torch.randn(batch, 1, queries, keys, generator=generator)
        part = bias.masked_fill(torch.rand(bias.shape, generator=generator) < 0.2, -torch.inf)
    return {"kind": "causal", kind: part}


def random_mask(seed: int, kinds: Iterable[str], batch: int = 2, heads: int = 4) -> MaskSpec:
    """Any of the kinds, with up to three of the parts that restrict it, over any lengths."""
    kinds = frozenset(kinds)
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    kind = draw.choice(sorted(kinds & {"causal", "bidirectional", "prefix"}))
    queries, offset = draw.choice([1, 2, 3, 5]), draw.choice([0, 0, 1, 4])
    keys = max(1, offset + queries + draw.choice([0, 0, 2, -2]))
    if kind == "bidirectional" and draw.random() < 0.5:  # queries and keys of two sequences
        keys, offset = draw.randint(1, 6), 0
    parts: dict[str, Any] = {"query_offset": offset}
    limits = sorted(kinds & {"sliding_window", "chunk", "keep", "documents", "bias"})
    for name in draw.sample(limits, min(len(limits), draw.randint(0, 3))):
        if name in ("sliding_window", "chunk"):
            parts[name] = draw.randint(1, keys + 1)
        elif name == "keep":
            parts[name] = torch.rand(batch, keys, generator=generator) < 0.6
        elif name == "documents":
            if offset + queries <= keys:
                parts[name] = torch.randint(0, 3, (batch, keys), generator=generator).sort(-1).values
        else:
            shapes = [(batch, heads, queries, keys), (1, heads, queries, keys), (batch, 1, 1, keys), (queries, keys), (1, keys)]
            bias = torch.randn(draw.choice(shapes), generator=generator)
            hidden = draw.choice([-torch.inf, torch.finfo(torch.float32).min, None])
            holes = torch.rand(bias.shape, generator=generator) < 0.3
            parts[name] = ~holes if hidden is None else bias.masked_fill(holes, hidden)
    if kind == "prefix":
        given = torch.randint(0, keys + 1, (batch,), generator=generator)
        parts["prefix_length"] = given if draw.random() < 0.5 else int(given[0])
    return MaskSpec(kind, queries, keys, **parts)


def reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: MaskSpec,
    *,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention in float64 under the mask as `materialize` tells it; gradients flow."""
    group = query.shape[1] // key.shape[1]
    query, key, value = query.double(), key.double().repeat_interleave(group, 1), value.double().repeat_interleave(group, 1)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask.bias is not None and mask.bias.is_floating_point():
        scores = scores + mask.bias.to(scores).clamp(min=-1e30)
    seen = mask.materialize(query.device)
    if seen is None:
        seen = torch.ones((), dtype=torch.bool, device=query.device)
    # no row is empty, and then what is not seen counts nothing: no gradient is divided by zero
    greatest = scores.masked_fill(~seen, -1e30).amax(-1, keepdim=True).detach()
    weights = torch.exp((scores - greatest).clamp(max=0.0)) * seen
    total = weights.sum(-1, keepdim=True)
    if sinks is not None:
        total = total + torch.exp(sinks.double().view(-1, 1, 1) - greatest)
    return weights / torch.where(total > 0, total, 1.0) @ value
