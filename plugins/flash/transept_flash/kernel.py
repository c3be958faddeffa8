"""The kernels `flash_attention_2` and `flash_attention_3`."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor

from transept.attention import MaskSpec
from transept.attention.sdpa import sdpa_attention
from transept.errors import AttentionError

from .packing import Packed, pack, runs_of

__all__ = ["flash_attention_2", "flash_attention_3"]


def flash_attention_2(
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
    """Attend (https://arxiv.org/abs/2307.08691); arguments as in `transept.attention.eager.eager_attention`.

    Raises:
        AttentionError: sinks or the weights are asked for, or a soft cap over a mask with holes.
    """
    _refuse("flash_attention_2", sinks=sinks is not None, weights=need_weights)
    more = {"dropout_p": dropout} if dropout > 0.0 else {}
    return _attend("flash_attn", query, key, value, mask, scale, softcap, more), None


def flash_attention_3(
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
    """Attend (https://arxiv.org/abs/2407.08608); arguments as in `transept.attention.eager.eager_attention`.

    Raises:
        AttentionError: sinks, dropout or the weights are asked for, or a soft cap over a mask with holes.
    """
    _refuse("flash_attention_3", sinks=sinks is not None, dropout=dropout > 0.0, weights=need_weights)
    return _attend("flash_attn_interface", query, key, value, mask, scale, softcap, {}), None


def _refuse(name: str, **asked: bool) -> None:
    wanted = [option for option, is_asked in asked.items() if is_asked]
    if wanted:
        raise AttentionError(f"`{name}` has no {' and no '.join(wanted)}: use `eager`.", kernel=name, lacking=wanted)


def _attend(
    package: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: MaskSpec,
    scale: float | None,
    softcap: float | None,
    more: dict[str, Any],
) -> Tensor:
    flash: Any = importlib.import_module(package)
    options = {"softmax_scale": query.shape[-1] ** -0.5 if scale is None else scale, "softcap": softcap or 0.0, **more}
    # flash puts the heads behind the sequence: (batch, seq, heads, head_dim)
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
    if mask.keep is None and mask.documents is None:
        runs = mask.memo("flash", lambda: runs_of(mask, 1))
        output = _of_whole_rows(flash, query, key, value, runs or [], options)
    else:
        device, batch = query.device, query.shape[0]
        packed = mask.memo(("flash", batch, str(device)), lambda: (pack(mask, batch, device),))[0]
        if packed is None:
            return _with_holes(query, key, value, mask, softcap, options)
        output = _of_packed_rows(flash, query, key, value, packed, options)
    return output.transpose(1, 2)


def _of_whole_rows(flash: Any, query: Tensor, key: Tensor, value: Tensor, runs: list[Any], options: dict[str, Any]) -> Tensor:
    """All rows see alike."""
    if len(runs) == 1 and len(runs[0].queries) == query.shape[1]:
        (run,) = runs
        keys = slice(run.keys.start, run.keys.stop)
        return _first(flash.flash_attn_func(query, key[:, keys], value[:, keys], **_sight(run.left, run.right), **options))
    output = query.new_zeros((*query.shape[:3], value.shape[-1]))
    for run in runs:
        queries, keys = slice(run.queries.start, run.queries.stop), slice(run.keys.start, run.keys.stop)
        found = flash.flash_attn_func(query[:, queries], key[:, keys], value[:, keys], **_sight(run.left, run.right), **options)
        output = output.slice_scatter(_first(found), 1, queries.start, queries.stop)
    return output


def _of_packed_rows(
    flash: Any, query: Tensor, key: Tensor, value: Tensor, packed: list[Packed], options: dict[str, Any]
) -> Tensor:
    queries, keys, values = (tensor.flatten(0, 1) for tensor in (query, key, value))  # (batch · seq, heads, head_dim)
    output = queries.new_zeros((*queries.shape[:2], value.shape[-1]))
    for part in packed:
        found = flash.flash_attn_varlen_func(
            queries.index_select(0, part.queries),
            keys.index_select(0, part.keys),
            values.index_select(0, part.keys),
            cu_seqlens_q=part.query_ends,
            cu_seqlens_k=part.key_ends,
            max_seqlen_q=part.longest_query,
            max_seqlen_k=part.longest_key,
            **_sight(*part.window),
            **options,
        )
        output = output.index_copy(0, part.queries, _first(found))
    return output.unflatten(0, query.shape[:2])


def _sight(left: int, right: int) -> dict[str, Any]:
    """How far is seen, in flash's words."""
    causal = (left, right) == (-1, 0)
    return {"causal": causal, "window_size": (-1, -1) if causal else (left, right)}


def _first(found: Any) -> Tensor:
    """The output: some versions return the logarithm of the sums as well."""
    output: Tensor = found[0] if isinstance(found, tuple) else found
    return output


def _with_holes(
    query: Tensor, key: Tensor, value: Tensor, mask: MaskSpec, softcap: float | None, options: dict[str, Any]
) -> Tensor:
    """Flash has no form for keys that are hidden between others: torch's kernel serves them."""
    if softcap is not None:
        raise AttentionError(
            "Flash attention has no mask with holes between kept keys, and torch's kernel, which serves those, has no softcap: use "
            "`flex_attention` or `eager`.",
            lacking=["a `softcap` over a mask with holes"],
        )
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
    scale, dropout = options["softmax_scale"], options.get("dropout_p", 0.0)
    return sdpa_attention(query, key, value, mask=mask, scale=scale, dropout=dropout)[0]
