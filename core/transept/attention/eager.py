"""The reference kernel: matrix products and a softmax (https://arxiv.org/abs/1706.03762, §3.2.1)."""

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
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attend. Every mask kind and option is supported; scores of half precision are normalised in float32.

    Args:
        query: (batch, heads, query, head_dim).
        key, value: (batch, kv_heads, key, head_dim); kv_heads divides heads, and each serves a run of neighbouring heads.
        mask: which keys each query sees.
        scale: of the scores; None: head_dim ** -0.5.
        softcap: scores become softcap · tanh(score / softcap) (https://arxiv.org/abs/2408.00118).
        sinks: (heads,), a score that takes part in each softmax and has no value (https://arxiv.org/abs/2508.10925).
        dropout: probability of dropping a weight.
        need_weights: return the weights, (batch, heads, query, key), as well.

    Returns:
        (batch, heads, query, head_dim) of the values, zeros where a query sees no key; the weights, or None.
    """
    # heads that share keys are a group, so that no key is copied
    groups = (key.shape[1], query.shape[1] // key.shape[1])
    scaled = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = torch.einsum("bngqd,bnkd->bngqk", scaled.unflatten(1, groups), key).flatten(1, 2)
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask.bias is not None and mask.bias.is_floating_point():
        # where it hides a key it may be -inf, and the gradient of a sum with that is not a number
        scores = scores + mask.bias.to(scores).clamp(min=torch.finfo(scores.dtype).min / 2)
    hidden, empty = mask.hidden(query.device)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    weights = _normalised(scores, sinks)
    if empty is not None:
        weights = weights.masked_fill(empty, 0.0)
    weights = F.dropout(weights.to(query.dtype), dropout) if dropout > 0.0 else weights.to(query.dtype)
    output = torch.einsum("bngqk,bnkd->bngqd", weights.unflatten(1, groups), value).flatten(1, 2)
    return output, weights if need_weights else None


def _normalised(scores: Tensor, sinks: Tensor | None) -> Tensor:
    if sinks is None:
        return scores.softmax(-1)
    column = sinks.to(scores).view(-1, 1, 1).expand(*scores.shape[:-1], 1)
    return torch.cat((scores, column), -1).softmax(-1)[..., :-1]
