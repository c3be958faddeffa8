"""What the kernels are held to: a loop over rows and keys that shares no code with them; and masks of every kind."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import strategies as st

from transept.attention import MaskSpec


def _sees(mask, row, head, i, j):
    """Whether query i of a row sees key j: word for word what `MaskSpec` documents."""
    place = mask.query_offset + i
    if mask.kind == "causal" and j > place:
        return False
    if mask.kind == "prefix":
        length = mask.prefix_length
        length = int(length[row]) if isinstance(length, torch.Tensor) else length
        if j > place and j >= length:
            return False
    if mask.sliding_window is not None and abs(place - j) >= mask.sliding_window:
        return False
    if mask.chunk is not None:
        kept = [] if mask.keep is None else mask.keep[row].nonzero().flatten().tolist()
        first = kept[0] if kept else 0
        if math.floor((place - first) / mask.chunk) != math.floor((j - first) / mask.chunk):
            return False
    if mask.keep is not None and not mask.keep[row, j]:
        return False
    if mask.documents is not None and mask.documents[row, place] != mask.documents[row, j]:
        return False
    if mask.bias is not None:
        added = _bias(mask, row, head, i, j)
        if added is False or (added is not True and added <= torch.finfo(mask.bias.dtype).min):
            return False
    return True


def _bias(mask, row, head, i, j):
    bias = mask.bias[(None,) * (4 - mask.bias.dim())]
    at = [place if size > 1 else 0 for place, size in zip((row, head, i, j), bias.shape, strict=True)]
    return bias[tuple(at)].item()


@pytest.fixture(scope="session")
def sees():
    return _sees


@pytest.fixture(scope="session")
def loop():
    """Attention in float64, one query at a time."""

    def attend(query, key, value, mask, scale=None, softcap=None, sinks=None):
        query, key, value = query.double(), key.double(), value.double()
        batch, heads, length, head_dim = query.shape
        group = heads // key.shape[1]
        output = torch.zeros(batch, heads, length, value.shape[-1], dtype=torch.float64)
        for row in range(batch):
            for head in range(heads):
                for i in range(length):
                    seen = [j for j in range(key.shape[2]) if _sees(mask, row, head, i, j)]
                    if not seen:
                        continue
                    scores = []
                    for j in seen:
                        score = float(query[row, head, i] @ key[row, head // group, j])
                        score *= head_dim**-0.5 if scale is None else scale
                        if softcap is not None:
                            score = softcap * math.tanh(score / softcap)
                        if mask.bias is not None and mask.bias.is_floating_point():
                            score += _bias(mask, row, head, i, j)
                        scores.append(score)
                    most = max(scores)
                    total = sum(math.exp(score - most) for score in scores)
                    if sinks is not None:
                        total += math.exp(float(sinks[head]) - most)
                    for j, score in zip(seen, scores, strict=True):
                        output[row, head, i] += math.exp(score - most) / total * value[row, head // group, j]
        return output

    return attend


def _draw_mask(draw, batch, heads, query_length=None):
    """Any kind, with any of the parts that restrict it."""
    seed = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    kind = draw(st.sampled_from(["causal", "causal", "bidirectional", "prefix"]))
    queries = query_length or draw(st.sampled_from([1, 2, 3, 5]))
    offset = draw(st.sampled_from([0, 0, 1, 4]))
    parts = {"query_offset": offset}
    keys = max(1, offset + queries + draw(st.sampled_from([0, 0, 2, -2])))
    if kind == "bidirectional" and draw(st.booleans()):  # cross-attention
        keys, parts["query_offset"] = draw(st.integers(1, 6)), 0
    wanted = draw(st.sets(st.sampled_from(["sliding_window", "chunk", "keep", "documents", "bias"]), max_size=3))
    for name in wanted & {"sliding_window", "chunk"}:
        parts[name] = draw(st.integers(1, keys + 1))
    if "keep" in wanted:
        parts["keep"] = torch.rand(batch, keys, generator=seed) < 0.6
    if "documents" in wanted and parts["query_offset"] + queries <= keys:
        parts["documents"] = torch.randint(0, 3, (batch, keys), generator=seed).sort(-1).values
    if "bias" in wanted:
        shape = draw(
            st.sampled_from([(batch, heads, queries, keys), (1, heads, queries, keys), (batch, 1, 1, keys), (queries, keys)])
        )
        if draw(st.booleans()):
            parts["bias"] = torch.rand(shape, generator=seed) < 0.6
        else:
            hidden = draw(st.sampled_from([-torch.inf, torch.finfo(torch.float32).min]))
            bias = torch.randn(shape, generator=seed)
            parts["bias"] = bias.masked_fill(torch.rand(shape, generator=seed) < 0.3, hidden)
    if kind == "prefix":
        given = torch.randint(0, keys + 1, (batch,), generator=seed)
        parts["prefix_length"] = given if draw(st.booleans()) else int(given[0])
    return MaskSpec(kind, queries, keys, **parts)


@pytest.fixture(scope="session")
def draw_mask():
    return _draw_mask


@pytest.fixture(scope="session")
def tensors():
    """Query, key and value for a mask; the memory layout is that of projections split into heads."""

    def make(mask, batch=2, heads=4, kv_heads=2, head_dim=8, seed=0, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)

        def one(count, length):
            return torch.randn(batch, length, count, head_dim, generator=generator).to(dtype).transpose(1, 2)

        return one(heads, mask.query_length), one(kv_heads, mask.key_length), one(kv_heads, mask.key_length)

    return make
