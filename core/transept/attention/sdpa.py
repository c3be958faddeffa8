"""Attention through `torch.nn.functional.scaled_dot_product_attention`, which never holds all the weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..errors import AttentionError
from .mask import MaskSpec

__all__ = ["sdpa_attention"]


def sdpa_attention(
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
    """Attend; arguments as in `eager_attention`.

    A square causal mask, and none, are served without a mask tensor; any other is built once for all layers of a pass.

    Raises:
        AttentionError: a softcap, sinks or the weights are asked for.
    """
    if softcap is not None or sinks is not None or need_weights:
        raise AttentionError("`sdpa` has no softcap, no sinks and returns no weights: use `eager`.", kernel="sdpa")
    batch, heads, length, _ = query.shape
    kv_heads = key.shape[1]
    added: Tensor | None = None
    empty: Tensor | None = None
    if mask.needs_mask and not mask.is_square_causal:
        added, empty = _added(mask, query)
    if length == 1 and heads != kv_heads:
        # heads that share keys become queries of one head: no key is copied, and each is read once for all of them
        group = heads // kv_heads
        if added is not None:
            added = (
                added.expand(-1, -1, group, -1) if added.shape[1] == 1 else added.reshape(-1, kv_heads, group, added.shape[-1])
            )
        output = scaled_dot_product_attention(
            query.reshape(batch, kv_heads, group, -1), key, value, attn_mask=added, dropout_p=dropout, scale=scale
        ).reshape(batch, heads, 1, -1)
    else:
        if added is not None and heads != kv_heads and query.device.type != "cpu":
            # there torch's fast kernels take a mask, or grouped heads, and not both
            key, value = (tensor.repeat_interleave(heads // kv_heads, 1) for tensor in (key, value))
        output = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=added,
            dropout_p=dropout,
            is_causal=mask.is_square_causal,
            scale=scale,
            enable_gqa=heads != key.shape[1],
        )
    return output if empty is None else output.masked_fill(empty, 0.0), None


def _added(mask: MaskSpec, query: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """What is added to the scores, (batch or 1, heads or 1, query, key) in the query's dtype, and the rows that see nothing."""
    hidden, empty = mask.hidden(query.device)
    bias = mask.bias if mask.bias is not None and mask.bias.is_floating_point() else None
    if hidden is None:
        return None, None

    def build() -> Tensor:
        # a row that sees nothing is opened in `hidden`, and may still be -inf throughout in the bias
        least = torch.finfo(query.dtype).min / 2
        base = torch.zeros_like(hidden, dtype=query.dtype) if bias is None else bias.to(query).clamp(min=least)
        return base.masked_fill(hidden, -torch.inf).expand(-1, -1, mask.query_length, mask.key_length)

    if bias is not None and bias.requires_grad:
        return build(), empty
    return mask.memo(("sdpa", str(query.device), str(query.dtype)), build), empty
