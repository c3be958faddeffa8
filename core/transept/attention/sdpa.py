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

    A square causal mask, and none, are served without a mask tensor; any other is built once for all layers of a pass. Where that
    would be large, queries are served in runs, each with the keys that it can reach and a mask of its own: torch knows no windows,
    and aligns `is_causal` with the first key where a cache holds more.

    Raises:
        AttentionError: a softcap, sinks or the weights are asked for.
    """
    if softcap is not None or sinks is not None or need_weights:
        raise AttentionError("`sdpa` has no softcap, no sinks and returns no weights: use `eager`.", kernel="sdpa")
    if mask.needs_mask and not mask.is_square_causal and _is_large(mask):
        runs = [
            _attend(query[:, :, queries], key[:, :, keys], value[:, :, keys], part, scale, dropout)
            for queries, keys, part in mask.blocks(_run(mask))
        ]
        return torch.cat(runs, 2), None
    return _attend(query, key, value, mask, scale, dropout), None


_LARGE = 1 << 20
"""Entries of a mask, for each row of a batch, from which on it is never held as a whole."""


def _is_large(mask: MaskSpec) -> bool:
    return not torch.compiler.is_compiling() and mask.query_length > 1 and mask.query_length * mask.key_length > _LARGE


def _run(mask: MaskSpec) -> int:
    """How many queries at a time: few beside a window, since each run reads the window before it; few where keys are many."""
    most = max(128, min(512, 8 * _LARGE // mask.key_length))
    return min(most, max(128, mask.sliding_window or mask.chunk or most))


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: MaskSpec, scale: float | None, dropout: float) -> Tensor:
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
            enable_gqa=bool(heads != key.shape[1]),  # `torch.jit.trace` makes tensors of sizes
        )
    return output if empty is None else output.masked_fill(empty, 0.0)


def _added(mask: MaskSpec, query: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """What is added to the scores, (batch or 1, heads or 1, query, key), and the rows that see nothing.

    It has the query's dtype; on a CPU, a bias that is more precise is added in float32.
    """
    hidden, empty = mask.hidden(query.device)
    bias = mask.bias if mask.bias is not None and mask.bias.is_floating_point() else None
    if hidden is None:
        return None, None
    dtype = query.dtype
    if bias is not None and query.device.type == "cpu" and bias.dtype.itemsize > dtype.itemsize:
        dtype = torch.float32

    def build() -> Tensor:
        # a row that sees nothing is opened in `hidden`, and may still be -inf throughout in the bias
        base = torch.zeros_like(hidden, dtype=dtype)
        if bias is not None:
            base = bias.to(base).clamp(min=torch.finfo(dtype).min / 2)
        return base.masked_fill(hidden, -torch.inf).expand(-1, -1, mask.query_length, mask.key_length)

    if bias is not None and bias.requires_grad:
        return build(), empty
    return mask.memo(("sdpa", str(query.device), str(query.dtype)), build), empty
