"""The layers that grow: keys and values of every token, or of those that a window needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..errors import CacheError
from .base import CacheLayer

__all__ = ["ROLLBACK", "DynamicLayer", "SlidingLayer"]


ROLLBACK = 32
"""Tokens beyond its window that a sliding layer always keeps, so that as many of the last can be cropped."""


class DynamicLayer(CacheLayer):
    """Keys and values of every token.

    The first ones are kept as they come, without a copy. Where gradients are recorded or a graph is traced, later ones are
    joined to them in new tensors; else they are written behind them, into storage that grows by a quarter when it is full.
    """

    def __init__(self) -> None:
        self.length = 0
        """Tokens seen. Setting it back is all it takes to forget some."""
        self._first = 0
        """The first token that is held: those from there to `length` stand at the front of the tensors."""
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        self._owned = False
        """The tensors are storage of this layer; else they are whoever's brought them, and are not written on."""

    @property
    def keys(self) -> Tensor | None:
        """(batch, kv_heads, tokens held, head_dim), or None before there are any."""
        return None if self._keys is None else _part(self._keys, 0, self.length - self._first)

    @property
    def values(self) -> Tensor | None:
        """(batch, kv_heads, tokens held, head_dim), or None before there are any."""
        return None if self._values is None else _part(self._values, 0, self.length - self._first)

    def get_seq_length(self) -> int:
        return self.length

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self._keys, self._values
        if keys is None or values is None or self.length == 0:
            return self._begin(key_states, value_states)
        if key_states.shape[:2] != keys.shape[:2]:
            raise CacheError(
                f"The cache holds {tuple(keys.shape[:2])} (rows, key/value heads), and {tuple(key_states.shape[:2])} came. Use a "
                "new cache for another batch, or fit this one with `batch_select_indices` or `batch_repeat_interleave`."
            )
        count, held = key_states.shape[2], self.length - self._first
        visible = self._visible(held)
        if self._is_functional() or key_states.dtype != keys.dtype:
            kept = self._kept(held)
            keys = torch.cat((_part(keys, held - kept, kept), key_states), 2)
            values = torch.cat((_part(values, held - kept, kept), value_states), 2)
            self._keys, self._values, self._owned = keys, values, False
        else:
            kept = held
            if not self._is_writable() or held + count > keys.shape[2]:
                kept = self._kept(held)
                room = self._room(kept + count)
                keys = self._moved(keys, held - kept, kept, room)
                values = self._moved(values, held - kept, kept, room)
                self._keys, self._values, self._owned = keys, values, True
            keys.narrow(2, kept, count).copy_(key_states)
            values.narrow(2, kept, count).copy_(value_states)
        self._first += held - kept
        self.length += count
        start, size = kept - visible, visible + count
        return _part(keys, start, size), _part(values, start, size)

    def check_crop(self, length: int) -> None:
        return

    def crop(self, length: int) -> None:
        self.length = length

    def reset(self) -> None:
        self.length = self._first = 0
        self._keys = self._values = None

    def batch_select_indices(self, indices: Tensor) -> None:
        if self._keys is not None and self._values is not None:
            indices = indices.to(self._keys.device)
            self._keys, self._values = self._keys.index_select(0, indices), self._values.index_select(0, indices)

    def reorder(self, rows: Tensor, alike: int) -> None:
        start, held = max(alike - self._first, 0), self.length - self._first
        if self._is_functional() or not self._is_writable():
            return self.batch_select_indices(rows) if held > start else None
        for tensor in (self._keys, self._values):
            if tensor is not None and held > start:
                part = tensor.narrow(2, start, held - start)
                part.copy_(part.index_select(0, rows.to(part.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self._keys is not None and self._values is not None:
            self._keys, self._values = (tensor.repeat_interleave(repeats, 0) for tensor in (self._keys, self._values))

    def flatten(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {name: tensor for name, tensor in (("keys", self.keys), ("values", self.values)) if tensor is not None}
        # the length is the tensors': in an exported graph it may be a symbol, which cannot stand among what is fixed
        left_out = ("_keys", "_values", "_owned", "length")
        return tensors, {name: value for name, value in vars(self).items() if name not in left_out}

    @classmethod
    def unflatten(cls, tensors: Mapping[str, Any], fixed: Mapping[str, Any]) -> Self:
        layer = cls.__new__(cls)
        vars(layer).update(fixed, _keys=tensors.get("keys"), _values=tensors.get("values"), _owned=False)
        layer.length = layer._first + (layer._keys.shape[2] if isinstance(layer._keys, Tensor) else 0)
        return layer

    def _begin(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        self._keys, self._values, self._owned = key_states, value_states, False
        self.length = key_states.shape[2]
        return key_states, value_states

    def _visible(self, held: int) -> int:
        """How many of the tokens held the next ones may see."""
        return held

    def _kept(self, held: int) -> int:
        """How many of the tokens held move on into new storage."""
        return held

    def _room(self, needed: int) -> int:
        """The size of storage for so many tokens and some to come."""
        return needed + max(needed // 4, 64)

    def _is_functional(self) -> bool:
        """Nothing may be written on: it would spoil what autograd saved, or what a graph holds to be constant."""
        return torch.is_grad_enabled() or torch.compiler.is_compiling()

    def _is_writable(self) -> bool:
        """It is owned, and not made in an inference mode that is over."""
        if not self._owned or torch.compiler.is_compiling():
            return self._owned
        return self._keys is not None and (torch.is_inference_mode_enabled() or not self._keys.is_inference())

    def _storage(self, like: Tensor, room: int) -> Tensor:
        batch, heads, _, head_dim = like.shape
        return like.new_empty((batch, heads, room, head_dim))

    def _moved(self, tensor: Tensor, start: int, size: int, room: int) -> Tensor:
        storage = self._storage(tensor, room)
        storage.narrow(2, 0, size).copy_(tensor.narrow(2, start, size))
        return storage


def _part(tensor: Tensor, start: int, size: int) -> Tensor:
    return tensor if size == tensor.shape[2] else tensor.narrow(2, start, size)


class SlidingLayer(DynamicLayer):
    """Keys and values of the last tokens, for attention that sees `window` keys, the query's own among them.

    To new tokens it gives the `window - 1` before them. It holds some more, and always those of the last update, so that
    tokens which were only tried can be cropped.
    """

    is_sliding: ClassVar[bool] = True

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        past = self._visible(self.length)
        return past + query_length, past

    def check_crop(self, length: int) -> None:
        if length - self._visible(length) < self._first:
            most = self.length - self._first - self.window + 1
            raise CacheError(
                f"{self.length - length} tokens cannot be cropped: after them a window of {self.window} needs keys that are gone. "
                f"At most {most} can. Crop after fewer tokens, or use a cache made without the configuration, which keeps all."
            )

    def _visible(self, held: int) -> int:
        return min(held, self.window - 1)

    def _kept(self, held: int) -> int:
        return min(held, self.window - 1 + ROLLBACK)
