"""The reference kernel: two matrix products and a softmax, every need served. Other kernels are tested against it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .mask import MaskSpec

__all__ = ["eager_attention"]


def eager_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: MaskSpec,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention (https://arxiv.org/abs/1706.03762, 3.2.1); the softmax is computed in float32.

    Args:
        query: (batch, heads, queries, head_dim).
        key, value: (batch, kv_heads, keys, head_dim); `kv_heads` divides `heads`.
        mask: who sees whom; a query that sees no key gets zeros.
        scale: factor of the scores.
        softcap: scores become `softcap * tanh(scores / softcap)`, before the mask.
        sinks: (heads,) logit of a key without value that every query may attend to (https://arxiv.org/abs/2309.17453).
        dropout: probability of dropping a weight; the caller passes 0 outside training.
        need_weights: return the probabilities too.

    Returns:
        (batch, heads, queries, head_dim), and (batch, heads, queries, keys) or None.
    """
    batch, heads, queries, head_dim = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    # query heads that share a key head stand beside its queries: no key is repeated
    grouped = query.reshape(batch, kv_heads, heads // kv_heads * queries, head_dim)
    scores = (torch.matmul(grouped, key.transpose(2, 3)) * scale).view(batch, heads, queries, keys)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    seen, rows = mask.memo(("eager", query.device), lambda: visible(mask, query.device))
    if mask.additive_bias is not None:
        scores = scores + (mask.additive_bias if rows is None else mask.additive_bias.masked_fill(~rows, 0.0))
    if seen is not None:
        scores = scores.masked_fill(~seen, float("-inf"))
    if sinks is not None:
        scores = torch.cat((scores, sinks.to(scores.dtype).view(1, -1, 1, 1).expand(batch, -1, queries, 1)), dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    if sinks is not None:
        weights = weights[..., :-1]
    if rows is not None:
        weights = weights.masked_fill(~rows, 0.0)
    weights_used = F.dropout(weights, p=dropout) if dropout > 0.0 else weights
    mixed = torch.matmul(weights_used.reshape(batch, kv_heads, heads // kv_heads * queries, keys), value)
    return mixed.view(batch, heads, queries, value.shape[-1]), weights if need_weights else None


def visible(mask: MaskSpec, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """The boolean mask, in which a query that would see nothing sees everything; and the rows that are not such.

    A softmax over no key is 0/0; over all keys it is finite, forward and backward, and the caller zeroes those rows.
    """
    seen = mask.materialize(device)
    if seen is None and mask.additive_bias is None:
        return None, None
    bias = mask.additive_bias
    rows: Tensor | None = None
    if bias is not None:
        # a float bias hides with -inf or with the dtype's lowest number
        open_keys = bias > torch.finfo(bias.dtype).min
        together = open_keys if seen is None else seen & open_keys
        rows = together.any(dim=-1, keepdim=True)
        seen = None if seen is None else seen | ~rows
        return seen, rows
    if not mask.may_hide_whole_rows:
        return seen, None
    assert seen is not None
    rows = seen.any(dim=-1, keepdim=True)
    if rows.device.type == "cpu" and not torch.compiler.is_compiling() and bool(rows.all()):
        return seen, None
    return seen | ~rows, rows
