"""A cache that grows as tokens come, and forgets what windows have left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import CacheError
from .base import Cache, CacheLayer

__all__ = ["DynamicCache", "DynamicLayer", "SlidingLayer", "make_dynamic"]

_LEAST_ROOM = 64


class DynamicLayer(CacheLayer):
    """All keys and values of a layer.

    The first update keeps the tensors as they come. Later ones write into storage that doubles when it is full, and give back
    views: a step costs the new tokens, not all of them. Where a gradient is wanted, or a graph is traced, tensors are joined instead.
    """

    def __init__(self) -> None:
        self.length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        # tokens before `_first` left the window; `_end` is where the next one goes
        self._first = 0
        self._end = 0

    @property
    def keys(self) -> Tensor | None:
        return None if self._keys is None else self._keys[:, :, self._first : self._end]

    @property
    def values(self) -> Tensor | None:
        return None if self._values is None else self._values[:, :, self._first : self._end]

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        new = key_states.shape[2]
        self.length += new
        if self._keys is None or self._values is None:
            self._keys, self._values, self._end = key_states, value_states, new
            return key_states, value_states
        if torch.compiler.is_compiling() or (
            torch.is_grad_enabled() and (key_states.requires_grad or self._keys.requires_grad)
        ):
            keys, values = self.keys, self.values
            assert keys is not None
            assert values is not None
            self._keys, self._values = torch.cat((keys, key_states), dim=2), torch.cat((values, value_states), dim=2)
            self._first, self._end = 0, self._keys.shape[2]
            return self._keys, self._values
        end = self._end + new
        if end > self._keys.shape[2] or not _writable(self._keys):
            self._make_room(new)
            end = self._end + new
        self._keys[:, :, self._end : end] = key_states
        self._values[:, :, self._end : end] = value_states
        self._end = end
        return self._keys[:, :, self._first : end], self._values[:, :, self._first : end]

    def _make_room(self, new: int) -> None:
        """Move what is kept to the front of storage with room for `new` tokens and as many again."""
        assert self._keys is not None
        assert self._values is not None
        kept = self._end - self._first
        room = max(_LEAST_ROOM, 2 * (kept + new))
        self._keys = _moved(self._keys[:, :, self._first : self._end], room)
        self._values = _moved(self._values[:, :, self._first : self._end], room)
        self._first, self._end = 0, kept

    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        keys, values = self.keys, self.values
        if keys is not None and values is not None:
            self._keys, self._values = change(keys), change(values)
            self._first, self._end = 0, self._keys.shape[2]

    def crop(self, length: int) -> None:
        if length < self.length:
            self._end -= self.length - length
            self.length = length

    def reset(self) -> None:
        self.length = self._first = self._end = 0
        self._keys = self._values = None

    def restore(self, keys: Tensor | None, values: Tensor | None, state: dict[str, Any]) -> None:
        self.length = state["length"]
        self._keys, self._values = keys, values
        self._first, self._end = 0, keys.shape[2] if isinstance(keys, Tensor) else 0


class SlidingLayer(DynamicLayer):
    """The last `window - 1` keys and values of a layer: with the query itself, what a window lets it see.

    Args:
        window: keys that a query sees, itself included; at least 1.
    """

    def __init__(self, window: int) -> None:
        if window < 1:
            raise CacheError(f"A sliding window of {window} shows a query nothing: it is at least 1.")
        super().__init__()
        self.window = window

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = super().update(key_states, value_states)
        self._first = max(self._first, self._end - (self.window - 1))
        return keys, values

    def mask_sizes(self, query_length: int) -> tuple[int, int]:
        kept = self._end - self._first
        return kept + query_length, kept

    def crop(self, length: int) -> None:
        dropped = self.length - (self._end - self._first)
        if length < self.length and dropped > 0:
            raise CacheError(
                f"This layer keeps the last {self.window - 1} tokens of {self.length}: going back to {length} would need ones that left "
                "the window. Feed the tokens again, or use a cache without windows."
            )
        super().crop(length)

    def state(self) -> dict[str, Any]:
        return {"length": self.length, "window": self.window}

    def restore(self, keys: Tensor | None, values: Tensor | None, state: dict[str, Any]) -> None:
        super().restore(keys, values, state)
        self.window = state["window"]


def _writable(storage: Tensor) -> bool:
    """Storage that was made in inference mode can't be written outside of it."""
    return not storage.is_inference() or torch.is_inference_mode_enabled()


def _moved(kept: Tensor, room: int) -> Tensor:
    batch, heads, length, head_dim = kept.shape
    storage = kept.new_empty((batch, heads, room, head_dim))
    storage[:, :, :length] = kept
    return storage


def layer_windows(config: Any) -> list[int | None]:
    """For each layer of a model, its sliding window or None."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return [window if getattr(config, "use_sliding_window", True) else None] * int(config.num_hidden_layers)
    return [window if "sliding" in kind else None for kind in kinds]


class DynamicCache(Cache):
    """Grows as tokens come.

    Args:
        config: the model's configuration: as many layers as it says, sliding ones with their window. Without it, layers without
            windows are made as they are needed.
    """

    kind: ClassVar[str] = "dynamic"

    def __init__(self, config: Any = None) -> None:
        if config is None:
            super().__init__(new_layer=DynamicLayer)
            return
        windows = layer_windows(config)
        super().__init__([DynamicLayer() if window is None else SlidingLayer(window) for window in windows])


def make_dynamic(config: Any, **_: Any) -> DynamicCache:
    """For the record: sizes, device and dtype come with the first tokens."""
    return DynamicCache(config)
