"""From what people pass as `attention_mask` to the one mask and the positions of a forward pass."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention import MaskSpec
from ..cache import Cache, mask_sizes
from ..errors import InputError

__all__ = ["check_length", "cross_attention_mask", "decoder_mask", "position_ids_from"]


def decoder_mask(
    hidden_states: Tensor,
    attention_mask: Tensor | MaskSpec | None,
    past_key_values: Any = None,
    *,
    kind: Literal["causal", "bidirectional"] = "causal",
    sliding_window: int | None = None,
    chunk: int | None = None,
    layer_idx: int = 0,
    position_ids: Tensor | None = None,
) -> MaskSpec:
    """Which keys each query of this forward pass sees.

    Args:
        hidden_states: (batch, query, hidden_size), for its sizes and device.
        attention_mask: None: every key is a token. (batch, past + query), bool or number, zero where a key is padding, wherever
            that is. (batch or 1, heads or 1, query, key), float to be added to scores or bool with True for "sees": this is then
            the whole mask, and `kind` and `sliding_window` don't add to it. A `MaskSpec` stands for itself.
        past_key_values: the cache, before this pass.
        kind, sliding_window, chunk: what the architecture's layers see.
        layer_idx: a layer of the cache for which the mask is meant; layers with windows may hold fewer keys.
        position_ids: (batch or 1, query). Without a mask and cached tokens, a position that does not follow its neighbour begins
            a new document, and documents do not see each other.

    Raises:
        InputError: a mask of another shape or type, or more tokens for a cache that was filled with several documents (which
            is seen on the CPU; elsewhere positions are not read).
    """
    if isinstance(attention_mask, MaskSpec):
        return attention_mask
    query_length = hidden_states.shape[1]
    key_length, query_offset = mask_sizes(past_key_values, query_length, layer_idx)
    keep = bias = documents = None
    if getattr(past_key_values, "holds_documents", False):
        if query_offset:
            raise InputError(
                "The cache holds several packed documents, and further tokens would see them all: run the document that is to go "
                "on by itself."
            )
        past_key_values.holds_documents = False
    if attention_mask is None:
        if position_ids is not None and not query_offset:
            documents = _documents(position_ids, hidden_states, key_length)
            if past_key_values is not None and documents is not None and _is_readable(documents):
                past_key_values.holds_documents = True
    elif attention_mask.dim() == 2:
        seen = query_length + (past_key_values.get_seq_length() if past_key_values is not None else 0)
        keep = _keep(attention_mask, hidden_states, seen, key_length)
        if keep is not None and keep.shape[1] == seen:
            if isinstance(past_key_values, Cache):
                keep = past_key_values.select_mask(keep, query_length, layer_idx)
            else:
                given = query_offset + query_length
                keep = F.pad(keep[:, seen - given :], (0, key_length - given))
    else:
        bias = _bias(attention_mask, hidden_states, key_length)
        kind, sliding_window, chunk = "bidirectional", None, None
    return MaskSpec(
        kind=kind,
        query_length=query_length,
        key_length=key_length,
        query_offset=query_offset,
        sliding_window=sliding_window,
        chunk=chunk,
        keep=keep,
        documents=documents,
        bias=bias,
    )


def cross_attention_mask(
    hidden_states: Tensor, encoder_hidden_states: Tensor, encoder_attention_mask: Tensor | MaskSpec | None
) -> MaskSpec:
    """Which of an encoder's states the queries of a decoder's cross-attention see.

    Args:
        hidden_states: the decoder's, (batch, query, hidden_size).
        encoder_hidden_states: (batch, key, hidden_size).
        encoder_attention_mask: None, (batch, key), (batch or 1, heads or 1, query, key), or a `MaskSpec`, as in `decoder_mask`.

    Raises:
        InputError: a mask of another shape or type, or states of another batch.
    """
    if isinstance(encoder_attention_mask, MaskSpec):
        return encoder_attention_mask
    query_length, key_length = hidden_states.shape[1], encoder_hidden_states.shape[1]
    if hidden_states.shape[0] != encoder_hidden_states.shape[0]:
        raise InputError(
            f"The decoder has {hidden_states.shape[0]} sequences, and the encoder's states are of {encoder_hidden_states.shape[0]}: "
            "give one of these for each of those."
        )
    keep = bias = None
    if encoder_attention_mask is not None and encoder_attention_mask.dim() == 2:
        keep = _keep(encoder_attention_mask, encoder_hidden_states, key_length, key_length)
    elif encoder_attention_mask is not None:
        bias = _bias(encoder_attention_mask, hidden_states, key_length)
    return MaskSpec.bidirectional(query_length, key_length, keep=keep, bias=bias)


def _is_readable(tensor: Tensor) -> bool:
    """Looking at values costs nothing: not on a device that would have to be waited for, and not while a graph is being traced."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.jit.is_tracing()


def _keep(attention_mask: Tensor, hidden_states: Tensor, seen: int, key_length: int) -> Tensor | None:
    """Bools as wide as the mask, a column for each of the `seen` tokens or of the keys; None where nothing is hidden."""
    batch, columns = attention_mask.shape
    if batch != hidden_states.shape[0] or columns not in (seen, key_length):
        raise InputError(
            f"`attention_mask` has shape {tuple(attention_mask.shape)}; this call needs ({hidden_states.shape[0]}, {seen}): a column "
            f"for each token in the cache ({seen - hidden_states.shape[1]}) and in the input ({hidden_states.shape[1]})."
        )
    if _is_readable(attention_mask):
        if attention_mask.is_floating_point() and bool((attention_mask < 0).any()):
            raise InputError("A 2-D `attention_mask` holds 1 for tokens and 0 for padding, and this one has negative numbers.")
        if bool(attention_mask.all()):
            return None
    return attention_mask.to(device=hidden_states.device, dtype=torch.bool)


def _bias(attention_mask: Tensor, hidden_states: Tensor, key_length: int) -> Tensor:
    batch, query_length = hidden_states.shape[:2]
    shape = attention_mask.shape
    if len(shape) != 4 or shape[0] not in (1, batch) or shape[2:] != (query_length, key_length):
        raise InputError(
            f"`attention_mask` has shape {tuple(shape)}: it must be (batch, past + query), or (batch, heads or 1, query, key), here "
            f"({batch}, 1, {query_length}, {key_length})."
        )
    if attention_mask.dtype != torch.bool and not attention_mask.is_floating_point():
        raise InputError(f"A 4-D `attention_mask` is bool or float, not {attention_mask.dtype}: convert it with `.bool()`.")
    return attention_mask.to(hidden_states.device)  # as precise as it came, and with the lowest number of its own dtype


def _documents(position_ids: Tensor, hidden_states: Tensor, key_length: int) -> Tensor | None:
    """(batch, key) numbers of the documents that are packed into each row, -1 in a cache's room behind them, or None where each
    row is seen to be one."""
    positions = position_ids.expand(hidden_states.shape[0], -1)
    documents = torch.diff(positions, prepend=positions[:, :1] - 1, dim=-1).ne(1).cumsum(-1)
    if _is_readable(documents) and not bool(documents[:, -1].any()):
        return None
    return F.pad(documents, (0, key_length - documents.shape[1]), value=-1)


def position_ids_from(
    hidden_states: Tensor,
    attention_mask: Tensor | MaskSpec | None,
    past_key_values: Any = None,
    position_ids: Tensor | None = None,
) -> Tensor:
    """The positions of this forward pass, (batch or 1, query): those given, or counted from each row's first token.

    Padding on the left doesn't count, so that a padded row has the positions that it has alone; padding elsewhere does.

    Raises:
        InputError: the positions given have another shape.
    """
    batch, query_length = hidden_states.shape[:2]
    if position_ids is not None:
        if position_ids.dim() != 2 or position_ids.shape[0] not in (1, batch) or position_ids.shape[1] != query_length:
            raise InputError(
                f"`position_ids` has shape {tuple(position_ids.shape)}; this call needs ({batch} or 1, {query_length})."
            )
        return position_ids
    past = past_key_values.get_seq_length() if past_key_values is not None else 0
    positions = torch.arange(past, past + query_length, device=hidden_states.device)[None]
    if isinstance(attention_mask, Tensor) and attention_mask.dim() == 2:
        first = attention_mask.to(hidden_states.device).ne(0).to(torch.uint8).argmax(dim=-1, keepdim=True)
        positions = (positions - first).clamp(min=0)
    return positions


def check_length(hidden_states: Tensor, past_key_values: Any, longest: int, field: str = "max_position_embeddings") -> None:
    """Refuse a sequence that counting takes past a position table with room for `longest` tokens. Raises: InputError"""
    # comparing a traced length would pin it
    if torch.compiler.is_exporting() or torch.jit.is_tracing():
        return
    length = hidden_states.shape[1] + (past_key_values.get_seq_length() if past_key_values is not None else 0)
    if length > longest:
        raise InputError(
            f"The sequence has {length} tokens, and the position table ends at {longest} (`{field}`): truncate it, as "
            "`tokenizer(text, truncation=True)` does."
        )
