"""torch's fused attention, in the form that each mask allows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .eager import visible
from .mask import MaskSpec

__all__ = ["sdpa_attention"]


def sdpa_attention(
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
    """`torch.nn.functional.scaled_dot_product_attention`; arguments and result are `eager_attention`'s.

    Soft caps, sinks and weights are not among what it can do: its record says so, and it is not asked.
    """
    if mask.needs_mask:
        grouped = query.shape[1] != key.shape[1]
        if mask.is_plain_causal:
            mixed = F.scaled_dot_product_attention(
                query, key, value, dropout_p=dropout, is_causal=True, scale=scale, enable_gqa=grouped
            )
            return mixed, None
        attn_mask, rows = mask.memo(("sdpa", query.device, query.dtype), lambda: _prepared(mask, query))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p=dropout, scale=scale, enable_gqa=grouped)
        return (mixed if rows is None else mixed.masked_fill(~rows, 0.0)), None
    # without a mask, query heads that share a key head are more queries of that head: nothing is repeated
    batch, heads, queries, head_dim = query.shape
    folded = query.reshape(batch, key.shape[1], -1, head_dim)
    mixed = F.scaled_dot_product_attention(folded, key, value, dropout_p=dropout, scale=scale)
    return mixed.reshape(batch, heads, queries, value.shape[-1]), None


def _prepared(mask: MaskSpec, query: Tensor) -> tuple[Tensor, Tensor | None]:
    """A bool mask, or a float one where there is a bias; and the rows that see something."""
    seen, rows = visible(mask, query.device)
    bias = mask.additive_bias
    if bias is None:
        assert seen is not None
        return seen, rows
    bias = bias.to(query.dtype)
    if seen is not None:
        bias = bias.masked_fill(~seen, float("-inf"))
    if rows is not None:
        # rows that see nothing get a flat bias: finite, and zeroed by the caller
        bias = torch.where(rows, bias, torch.zeros((), dtype=bias.dtype, device=bias.device))
    return bias, rows
