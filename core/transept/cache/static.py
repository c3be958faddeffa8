"""A cache that is allocated once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import CacheError
from .base import Cache, CacheLayer
from .dynamic import layer_windows

__all__ = ["StaticCache", "StaticLayer", "make_static"]


def bucket(length: int) -> int:
    """The power of two that holds `length`: generations of like lengths have equal storage."""
    return 1 << max(0, length - 1).bit_length()


class StaticLayer(CacheLayer):
    """Room for `max_length` tokens, allocated at the first update in a power of two; updates give back the filled part as views.

    Args:
        max_length: most tokens.
        window: where the layer slides, how many of the last ones a query sees; older ones stay stored and are masked by not being given back.
    """

    def __init__(self, max_length: int, window: int | None = None) -> None:
        if max_length < 1:
            raise CacheError(f"`max_cache_len={max_length}` holds nothing: it is at least 1.")
        self.length = 0
        self.window = window
        self._max_length = max_length
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    @property
    def max_length(self) -> int | None:
        return self._max_length

    @property
    def keys(self) -> Tensor | None:
        return None if self._keys is None else self._keys[:, :, : self.length]

    @property
    def values(self) -> Tensor | None:
        return None if self._values is None else self._values[:, :, : self.length]

    def allocate(self, like_keys: Tensor, like_values: Tensor) -> None:
        """Make room for keys and values of these shapes, dtype and device."""
        room = bucket(self._max_length)
        # zeros: nothing that was never written can be read, whatever a mask does
        self._keys = like_keys.new_zeros((*like_keys.shape[:2], room, like_keys.shape[3]))
        self._values = like_values.new_zeros((*like_values.shape[:2], room, like_values.shape[3]))

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        new = key_states.shape[2]
        end = self.length + new
        if end > self._max_length:
            raise CacheError(
                f"A static cache for {self._max_length} tokens has {self.length} and is given {new} more: make it with `max_cache_len={end}` or "
                "more, or use a dynamic cache."
            )
        if self._keys is None or self._values is None:
            self.allocate(key_states, value_states)
        assert self._keys is not None
        assert self._values is not None
        if torch.is_grad_enabled() and key_states.requires_grad:
            # storage that a graph has seen can't be written again: such a step gets storage of its own
            self._keys, self._values = self._keys.clone(), self._values.clone()
        self._keys[:, :, self.length : end] = key_states
        self._values[:, :, self.length : end] = value_states
        first = self._first()
        self.length = end
        return self._keys[:, :, first:end], self._values[:, :, first:end]

    def _first(self) -> int:
        """The oldest token that the next query's window reaches."""
        return 0 if self.window is None else max(0, self.length - (self.window - 1))

    def mask_sizes(self, query_length: int) -> tuple[int, int]:
        kept = self.length - self._first()
        return kept + query_length, kept

    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        if self._keys is not None and self._values is not None:
            self._keys, self._values = change(self._keys), change(self._values)

    def crop(self, length: int) -> None:
        self.length = min(self.length, length)

    def reset(self) -> None:
        self.length = 0

    def state(self) -> dict[str, Any]:
        return {"length": self.length, "max_length": self._max_length, "window": self.window}

    def restore(self, keys: Tensor | None, values: Tensor | None, state: dict[str, Any]) -> None:
        self.length, self._max_length, self.window = state["length"], state["max_length"], state["window"]
        self._keys = self._values = None
        if isinstance(keys, Tensor) and isinstance(values, Tensor):
            self.allocate(keys, values)
            assert self._keys is not None
            assert self._values is not None
            self._keys[:, :, : self.length], self._values[:, :, : self.length] = keys, values


class StaticCache(Cache):
    """Allocated once for `max_cache_len` tokens.

    Args:
        config: the model's configuration.
        max_cache_len: most tokens, prompt included.

    Raises:
        CacheError: from `update`, when more tokens come; nothing is written then.
    """

    kind: ClassVar[str] = "static"

    def __init__(self, config: Any, max_cache_len: int) -> None:
        super().__init__([StaticLayer(max_cache_len, window) for window in layer_windows(config)])


def make_static(config: Any, *, max_cache_len: int, **_: Any) -> StaticCache:
    """For the record: batch size, device and dtype come with the first tokens."""
    return StaticCache(config, max_cache_len)
