"""Names and layouts: from a GGUF file's tensors to the model's, and back."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from transept.checkpoints import Drop, KeyMap, Permute, Rename
from transept.errors import CheckpointError, shorten

from .architectures import ARCHITECTURES, Architecture

__all__ = ["key_map"]

_IN_CONFIG = ("rope_freqs.weight",)
"""Tensors that `read_config` puts into the configuration."""


def key_map(config: Any) -> KeyMap:
    """The table for the architecture of a configuration.

    Raises:
        CheckpointError: no architecture with its `model_type` is known here.
    """
    known = {row.model_type: row for row in ARCHITECTURES.values()}
    row = known.get(config.model_type)
    if row is None:
        raise CheckpointError(
            f"transept-gguf does not know what the tensors of `{config.model_type}` are called in GGUF; it knows "
            f"{shorten(sorted(known), len(known))}. A plugin can say so in its `ModelSpec.key_maps`."
        )
    return KeyMap(
        [*(Drop(name) for name in _IN_CONFIG), *(_operation(row, name, config) for name in row.tensors)],
    )


def _operation(row: Architecture, name: str, config: Any) -> Rename | Permute:
    source, target = f"{name}.*", f"{row.tensors[name]}.*"
    if name in row.raised:
        return Permute(source, target, lambda gain: gain - 1, lambda weight: weight + 1)
    if name not in row.interleaved:
        return Rename(source, target)
    heads = config.num_key_value_heads if name.endswith("attn_k") else config.num_attention_heads
    return Permute(source, target, partial(_part_pairs, heads), partial(_join_pairs, heads))


def _part_pairs(heads: int, rows: Tensor) -> Tensor:
    """Rows of each head from pairs side by side (0, half, 1, half + 1, …) to halves: the model rotates i with i + half."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(rows.shape)


def _join_pairs(heads: int, rows: Tensor) -> Tensor:
    """What `_part_pairs` takes apart, together again."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(rows.shape)
