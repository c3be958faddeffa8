"""The cache that is allocated once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import CacheError
from .base import Cache
from .dynamic import refuse_options
from .layers import DynamicLayer, SlidingLayer
from .windows import windows_of

__all__ = ["StaticCache", "StaticLayer", "make_static"]


class StaticLayer(DynamicLayer):
    """Keys and values of up to `size` tokens, in storage that is allocated at once or with the first ones.

    With `whole`, it always gives the whole storage, zeros where nothing was written yet, and counts on the mask to hide them.
    """

    def __init__(self, size: int, *, whole: bool = False) -> None:
        super().__init__()
        self.size = size
        self.whole = whole

    @property
    def max_cache_len(self) -> int:
        return self.size

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        self._check_room(query_length)
        return self.size if self.whole else self.length + query_length, self.length

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        self._check_room(key_states.shape[2])
        found = super().update(key_states, value_states)
        if not self.whole or self._keys is None or self._values is None:
            return found
        if not self._owned:
            self._keys, self._values = (self._moved(part, 0, self.length, self.size) for part in (self._keys, self._values))
        return self._keys, self._values

    def reset(self) -> None:
        self.length = 0

    def allocate(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Make storage for rows, heads, head dims, device and dtype like these; what is held is forgotten."""
        keys, values = self._storage(key_states, self.size), self._storage(value_states, self.size)
        self._keys, self._values, self.length, self._owned = keys, values, 0, True
        return keys, values

    def _begin(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        if self._is_functional():
            return super()._begin(key_states, value_states)
        keys, values = self._keys, self._values
        if not self._is_writable() or keys is None or values is None or not _alike(keys, key_states, values, value_states):
            keys, values = self.allocate(key_states, value_states)
        self.length = key_states.shape[2]
        return keys.narrow(2, 0, self.length).copy_(key_states), values.narrow(2, 0, self.length).copy_(value_states)

    def _check_room(self, count: int) -> None:
        needed = self.length + count
        if needed > self.size:
            raise CacheError(
                f"The static cache has room for {self.size} tokens and {needed} are needed: {self.length} are in it, and {count} "
                f"come. Make it with `max_cache_len={needed}` or more, or use a dynamic cache."
            )

    def _is_functional(self) -> bool:
        return torch.is_grad_enabled()

    def _room(self, needed: int) -> int:
        return self.size

    def _storage(self, like: Tensor, room: int) -> Tensor:
        storage = super()._storage(like, room)
        return storage.zero_() if self.whole else storage


def _alike(keys: Tensor, key_states: Tensor, values: Tensor, value_states: Tensor) -> bool:
    return all(
        (a.dtype, a.device, a.shape[0], a.shape[1], a.shape[3]) == (b.dtype, b.device, b.shape[0], b.shape[1], b.shape[3])
        for a, b in ((keys, key_states), (values, value_states))
    )


class StaticCache(Cache):
    """A cache of a fixed size, the next power of two from `max_cache_len`: calls of many lengths share a few sizes.

    Args:
        config: the model's configuration. Layers that slide keep what their window needs, in storage that grows up to that.
        max_cache_len: tokens, those of the prompt among them.
        batch_size, device, dtype: given the first and the last, storage is allocated at once, and not with the first tokens.
        whole: give the whole storage at every step, so that no shape ever changes: for graphs that are compiled once. Sliding
            layers then hold everything too. Otherwise what is filled is given, and needs no mask.
    """

    def __init__(
        self,
        config: Any,
        max_cache_len: int,
        *,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        whole: bool = False,
    ) -> None:
        if max_cache_len < 1:
            raise CacheError(f"`max_cache_len` is {max_cache_len}: give the number of tokens of prompt and answer together.")
        size = 1 << (max_cache_len - 1).bit_length()
        windows = windows_of(config)
        if not windows:
            raise CacheError(f"`{type(config).__name__}` has no `num_hidden_layers`: a static cache has to know its layers.")
        super().__init__(
            StaticLayer(size, whole=whole) if window is None or whole or window > size else SlidingLayer(window)
            for window in windows
        )
        if batch_size is not None and dtype is not None:
            like = torch.empty((batch_size, *_heads(config)), device=device, dtype=dtype)
            for layer in self.layers:
                if isinstance(layer, StaticLayer):
                    layer.allocate(like, like)


def _heads(config: Any) -> tuple[int, int, int]:
    """Key/value heads, no token, head dim: as far as the configuration tells; the first tokens correct it."""
    config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return getattr(config, "num_key_value_heads", None) or heads, 0, head_dim


def make_static(
    config: Any,
    *,
    max_cache_len: int,
    batch_size: int | None = None,
    device: Any = None,
    dtype: Any = None,
    **cache_config: Any,
) -> StaticCache:
    """A `StaticCache`; `cache_config` may have `whole`."""
    refuse_options("static", cache_config, ("whole",))
    return StaticCache(config, max_cache_len, batch_size=batch_size, device=device, dtype=dtype, **cache_config)
