"""What stands in for the flash packages on a machine without a GPU: their functions, with their signatures, in plain torch.

The alignment, the meaning of `window_size` and the order of dimensions are those of FlashAttention from 2.1 on: the last query
meets the last key, -1 is without end, and rows that see nothing are zeros.
"""

import sys
import types

import pytest
import torch


def _one(query, key, value, scale, causal, window, softcap, dropout):
    """(queries, heads, head_dim) of one sequence."""
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = torch.einsum("qhd,khd->hqk", query.float(), key.float()) * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    own = torch.arange(query.shape[0])[:, None] + key.shape[0] - query.shape[0]
    places = torch.arange(key.shape[0])
    left, right = window
    right = 0 if causal else right
    seen = torch.ones(query.shape[0], key.shape[0], dtype=torch.bool)
    if left >= 0:
        seen &= places >= own - left
    if right >= 0:
        seen &= places <= own + right
    empty = ~seen.any(-1, keepdim=True)
    weights = scores.masked_fill(~(seen | empty), -torch.inf).softmax(-1).masked_fill(empty, 0.0)
    weights = torch.nn.functional.dropout(weights, dropout) if dropout else weights
    return torch.einsum("hqk,khd->qhd", weights, value.float()).to(query.dtype)


def _check(*tensors):
    assert all(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in tensors), "flash takes half precision only"
    assert all(tensor.stride(-1) == 1 for tensor in tensors)


def _rows(query, key, value, softmax_scale, causal, window_size, softcap, dropout):
    _check(query, key, value)
    rows = zip(query, key, value, strict=True)
    return torch.stack([_one(*row, softmax_scale, causal, window_size, softcap, dropout) for row in rows])


def _packed(query, key, value, q_ends, k_ends, most_q, most_k, softmax_scale, causal, window_size, softcap, dropout):
    _check(query, key, value)
    assert q_ends.dtype == k_ends.dtype == torch.int32
    assert (int(q_ends[-1]), int(k_ends[-1])) == (query.shape[0], key.shape[0])
    assert (int(q_ends.diff().max()), int(k_ends.diff().max())) == (most_q, most_k)
    parts = [
        _one(query[a:b], key[c:d], value[c:d], softmax_scale, causal, window_size, softcap, dropout)
        for a, b, c, d in zip(q_ends, q_ends[1:], k_ends, k_ends[1:], strict=False)
    ]
    return torch.cat(parts)


def _flash_attn():
    def flash_attn_func(
        q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
        deterministic=False, return_attn_probs=False,
    ):  # fmt: skip
        return _rows(q, k, v, softmax_scale, causal, window_size, softcap, dropout_p)

    def flash_attn_varlen_func(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None, causal=False,
        window_size=(-1, -1), softcap=0.0, alibi_slopes=None, deterministic=False, return_attn_probs=False, block_table=None,
    ):  # fmt: skip
        return _packed(
            q,
            k,
            v,
            cu_seqlens_q,
            cu_seqlens_k,
            max_seqlen_q,
            max_seqlen_k,
            softmax_scale,
            causal,
            window_size,
            softcap,
            dropout_p,
        )

    return flash_attn_func, flash_attn_varlen_func


def _flash_attn_interface():
    def flash_attn_func(
        q, k, v, softmax_scale=None, causal=False, qv=None, q_descale=None, k_descale=None, v_descale=None, window_size=(-1, -1),
        attention_chunk=0, softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False, sm_margin=0,
    ):  # fmt: skip
        return _rows(q, k, v, softmax_scale, causal, window_size, softcap, 0.0), torch.empty(0)  # as older ones do

    def flash_attn_varlen_func(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, seqused_q=None, seqused_k=None, softmax_scale=None,
        causal=False, qv=None, q_descale=None, k_descale=None, v_descale=None, window_size=(-1, -1), attention_chunk=0,
        softcap=0.0, num_splits=1, pack_gqa=None, deterministic=False, sm_margin=0,
    ):  # fmt: skip
        return _packed(
            q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal, window_size, softcap, 0.0
        )

    return flash_attn_func, flash_attn_varlen_func


@pytest.fixture
def stand_in(monkeypatch):
    """The packages are there, and so is a GPU, as far as anybody asks."""
    from transept_flash import requirements

    for name, functions in (("flash_attn", _flash_attn()), ("flash_attn_interface", _flash_attn_interface())):
        module = types.ModuleType(name)
        module.flash_attn_func, module.flash_attn_varlen_func = functions
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("flash_attention_2", "flash_attention_3"):
        monkeypatch.setattr(requirements, name, lambda: None)
    return sys.modules
