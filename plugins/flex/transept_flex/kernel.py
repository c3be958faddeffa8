"""The kernel: torch's flex attention where it can be compiled to one loop, else the same functions on whole index grids."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Hashable
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, flex_attention

from transept.attention import MaskSpec
from transept.errors import AttentionError

from .blocks import block_mask
from .mods import MaskMod, ScoreMod, mask_mod, score_mod

__all__ = ["WORTH_COMPILING", "flex_kernel"]

WORTH_COMPILING = 1 << 18
"""Pairs of queries and keys from which on a CPU compiles: it takes seconds, and grids of fewer are quick and small."""

_FUSED_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def flex_kernel(
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
    """Attend (https://arxiv.org/abs/2412.05496); arguments as in `transept.attention.eager.eager_attention`.

    Raises:
        AttentionError: dropout or the weights are asked for.
    """
    if dropout > 0.0 or need_weights:
        raise AttentionError("`flex_attention` has no dropout and returns no weights: use `eager`.", kernel="flex_attention")
    device = query.device
    # `mask.memo` keeps no None
    seen = mask.memo(("flex", "mod", str(device)), lambda: (mask_mod(mask, device),))[0]
    bias = mask.bias if mask.bias is not None and mask.bias.is_floating_point() else None
    if bias is not None:  # as precise as the scores are
        bias = bias.to(device, torch.float64 if query.dtype == torch.float64 else torch.float32)
    changed = score_mod(softcap, None if bias is None else bias[(None,) * (4 - bias.dim())])
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if _is_fused(query, key, value, sinks, bias):
        form = (mask.features, softcap, bias is None, sinks is None, query.dtype, query.shape[1], key.shape[1], query.shape[3])
        found = _fused(form, query, key, value, mask, seen, changed, scale, sinks)
        if found is not None:
            return found, None
    return _unfused(query, key, value, mask, seen, changed, scale, sinks), None


def _is_fused(query: Tensor, key: Tensor, value: Tensor, sinks: Tensor | None, bias: Tensor | None) -> bool:
    if query.dtype not in _FUSED_DTYPES or query.shape[-1] < 16:
        return False
    if query.device.type != "cpu":
        return query.device.type in ("cuda", "xpu")
    if torch.compiler.is_compiling() or query.shape[2] * key.shape[2] < WORTH_COMPILING or sinks is not None:
        return False
    # torch compiles no backward and no sum of the weights, which sinks need, for a CPU
    learns = any(tensor is not None and tensor.requires_grad for tensor in (query, key, value, bias))
    return not (torch.is_grad_enabled() and learns) and _cpu_compiles()


def _fused(
    form: Hashable,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: MaskSpec,
    seen: MaskMod | None,
    changed: ScoreMod | None,
    scale: float,
    sinks: Tensor | None,
) -> Tensor | None:
    """The output, or None where this form of request does not compile."""
    device = query.device
    blocks = None if seen is None else mask.memo(("flex", str(device)), lambda: block_mask(mask, seen, device))
    options: dict[str, Any] = {"scale": scale, "enable_gqa": query.shape[1] != key.shape[1]}
    if sinks is not None:
        options["return_aux"] = AuxRequest(lse=True)
    if torch.compiler.is_compiling():
        found = flex_attention(query, key, value, changed, blocks, **options)
    else:
        found = _attempt(form, device, lambda function: function(query, key, value, changed, blocks, **options))
    if found is None:
        return None
    if sinks is None:
        return found
    output, aux = found
    # a sink takes its part of each softmax: exp(lse) / (exp(lse) + exp(sink)) is left for the keys
    return output * torch.sigmoid(aux.lse - sinks.to(aux.lse).view(-1, 1)).unsqueeze(-1).to(output)


_static: set[Hashable] = set()
"""Forms of request that compile for one shape at a time only."""
_given_up: set[Hashable] = set()
"""Forms that do not compile at all."""


def _attempt(form: Hashable, device: torch.device, call: Callable[[Callable[..., Any]], Any]) -> Any:
    """Call what is compiled for this form, or None where torch cannot compile it.

    torch's C++ for shapes that vary mixes up the names of sizes where there are ten or more (2.13); each shape by itself does.
    """
    for static in (None, False):
        if form in _given_up or (static is None and form in _static):
            continue
        try:
            return call(_compiled(form, static))
        except RuntimeError as error:
            if device.type != "cpu" or not type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
                raise
            if static is None:
                _static.add(form)
            else:
                _give_up(form, error)
    return None


@cache
def _compiled(form: Hashable, dynamic: bool | None) -> Callable[..., Any]:
    """torch counts what it compiles for a function, and gives up at eight: each form of request has a count of its own."""
    alone = {"isolate_recompiles": True} if "isolate_recompiles" in signature(torch.compile).parameters else {}
    return torch.compile(flex_attention, dynamic=dynamic, **alone)


def _unfused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: MaskSpec,
    seen: MaskMod | None,
    changed: ScoreMod | None,
    scale: float,
    sinks: Tensor | None,
) -> Tensor:
    """As torch's own unfused path, without the graph that it traces for every form: the functions broadcast by themselves."""
    groups = (key.shape[1], query.shape[1] // key.shape[1])
    scores = torch.einsum("bngqd,bnkd->bngqk", query.unflatten(1, groups), key).flatten(1, 2)
    scores = (scores if scores.dtype == torch.float64 else scores.float()) * scale
    if changed is not None:
        scores = changed(scores, *_indices(scores))
    empty: Tensor | None = None
    if seen is not None:
        hidden, empty = mask.memo(("flex", "grid", str(query.device)), lambda: _hidden(seen(*_indices(scores))))
        scores = scores.masked_fill(hidden, -torch.inf)
        # where a row sees nothing, a bias may be -inf throughout, and its softmax not a number
        scores = scores.masked_fill(empty, 0.0)
    if sinks is not None:
        scores = torch.cat((scores, sinks.to(scores).view(-1, 1, 1).expand(*scores.shape[:-1], 1)), -1)
    weights = scores.softmax(-1)[..., : key.shape[2]]
    if empty is not None:
        weights = weights.masked_fill(empty, 0.0)
    return torch.einsum("bngqk,bnkd->bngqd", weights.to(query.dtype).unflatten(1, groups), value).flatten(1, 2)


def _indices(scores: Tensor) -> list[Tensor]:
    """Batch, head, query and key indices, each along its own dimension of the scores."""
    places = (torch.arange(size, device=scores.device) for size in scores.shape)
    return [place.view([-1 if d == dim else 1 for d in range(4)]) for dim, place in enumerate(places)]


def _hidden(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """What to hide, nothing in rows that see nothing, and which rows those are."""
    empty = ~pairs.any(-1, keepdim=True)
    return ~(pairs | empty), empty


@cache
def _cpu_compiles() -> bool:
    """torch compiles flex attention for x86 CPUs with AVX2, outside macOS, and with a C++ compiler."""
    compiler = os.environ.get("CXX") or "g++"
    has_avx2 = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512", "AMX")
    return has_avx2 and sys.platform == "linux" and not torch.xpu.is_available() and shutil.which(compiler) is not None


def _give_up(form: Hashable, error: Exception) -> None:
    _given_up.add(form)
    reason = (str(error).strip() or "no reason given").splitlines()[0]
    warnings.warn(
        f"flex attention cannot be compiled for requests of this form, and holds their scores from now on: "
        f"{type(error).__name__}: {reason}",
        RuntimeWarning,
        stacklevel=5,
    )
