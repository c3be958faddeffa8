"""What every cache is: layers that take keys and values and give back all there are, under one length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import CacheError

__all__ = ["Cache", "CacheLayer", "mask_sizes"]


class CacheLayer(ABC):
    """Keys and values of one attention layer. `length` counts the tokens seen; masks, crops and rollbacks follow it."""

    length: int = 0

    @property
    @abstractmethod
    def keys(self) -> Tensor | None:
        """(batch, kv_heads, kept, head_dim), or None before the first update."""

    @property
    @abstractmethod
    def values(self) -> Tensor | None:
        """(batch, kv_heads, kept, head_dim), or None before the first update."""

    @abstractmethod
    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Take (batch, kv_heads, new, head_dim) and give back all keys and values that the new queries may see."""

    @abstractmethod
    def map(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace keys and values by `change` of them: a reorder, a selection, a move."""

    @abstractmethod
    def crop(self, length: int) -> None:
        """Forget all but the first `length` tokens."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything."""

    def mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys the next `query_length` queries meet, and how many of them stand before the first query."""
        return self.length + query_length, self.length

    @property
    def max_length(self) -> int | None:
        """Most tokens that it can hold; None: as many as memory."""
        return None

    def state(self) -> dict[str, Any]:
        """What rebuilds an equal layer around its tensors; see `restore`."""
        return {"length": self.length}

    @abstractmethod
    def restore(self, keys: Tensor | None, values: Tensor | None, state: dict[str, Any]) -> None:
        """Take tensors and state as `keys`, `values` and `state()` gave them."""


class Cache:
    """One layer of keys and values for each attention layer.

    Args:
        layers: the layers, where their number is known; else they are made by `new_layer` as they are needed.
    """

    kind: ClassVar[str] = ""

    def __init__(self, layers: Sequence[CacheLayer] = (), new_layer: Callable[[], CacheLayer] | None = None) -> None:
        self.layers: list[CacheLayer] = list(layers)
        self._new_layer = new_layer

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, cache_kwargs: dict[str, Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Add (batch, kv_heads, new, head_dim) to a layer; returns all that its new queries may see.

        `cache_kwargs` is accepted from code that was written for caches that rotate keys; nothing here needs it.

        Raises:
            CacheError: the layer does not exist, or is full.
        """
        if layer_idx >= len(self.layers):
            if self._new_layer is None:
                raise CacheError(f"This cache was made for {len(self.layers)} layers, and layer {layer_idx} asks for room.")
            while layer_idx >= len(self.layers):
                self.layers.append(self._new_layer())
        return self.layers[layer_idx].update(key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen so far."""
        return self.layers[layer_idx].length if layer_idx < len(self.layers) else 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """How many keys the next queries of a layer meet, and how many stand before the first query.

        The second number is an index among the keys (what `MaskSpec.query_offset` wants).
        """
        if layer_idx >= len(self.layers):
            return query_length, 0
        return self.layers[layer_idx].mask_sizes(query_length)

    @property
    def max_cache_len(self) -> int | None:
        """Most tokens that it can hold; None: as many as memory."""
        bounds = [layer.max_length for layer in self.layers if layer.max_length is not None]
        return min(bounds) if bounds else None

    def get_max_cache_shape(self) -> int | None:
        """Older name of `max_cache_len`."""
        return self.max_cache_len

    def crop(self, max_length: int) -> None:
        """Forget all but the first `max_length` tokens; a negative number forgets that many from the end.

        Raises:
            CacheError: a layer no longer has what it would have to give back.
        """
        length = self.get_seq_length()
        target = max(0, length + max_length) if max_length < 0 else max_length
        if target < length:
            for layer in self.layers:
                layer.crop(target)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take, for each row of the batch, the row that `beam_idx` (batch,) names."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows of the batch, in this order."""
        for layer in self.layers:
            layer.map(lambda tensor: tensor.index_select(0, indices.to(tensor.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row of the batch."""
        for layer in self.layers:
            layer.map(lambda tensor: tensor.repeat_interleave(repeats, dim=0))

    def to(self, device: torch.device | str) -> Cache:
        """Move to a device, in place."""
        for layer in self.layers:
            layer.map(lambda tensor: tensor.to(device))
        return self

    def reset(self) -> None:
        """Forget everything; room that was allocated stays."""
        for layer in self.layers:
            layer.reset()

    def __len__(self) -> int:
        """Number of layers."""
        return len(self.layers)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, layer_idx: int) -> tuple[Tensor | None, Tensor | None]:
        """Keys and values of a layer."""
        layer = self.layers[layer_idx]
        return layer.keys, layer.values

    def tree_flatten(self) -> tuple[list[Any], Any]:
        """The tensors, and what rebuilds the cache around them: each cache is a pytree."""
        tensors = [tensor for layer in self.layers for tensor in (layer.keys, layer.values)]
        return tensors, (tuple((type(layer), tuple(sorted(layer.state().items()))) for layer in self.layers), self._new_layer)

    @classmethod
    def tree_unflatten(cls, tensors: Any, context: Any) -> Self:
        layers, new_layer = context
        cache = cls.__new__(cls)
        Cache.__init__(cache, new_layer=new_layer)
        pairs = list(tensors)
        for index, (kind, state) in enumerate(layers):
            layer = kind.__new__(kind)
            layer.restore(pairs[2 * index], pairs[2 * index + 1], dict(state))
            cache.layers.append(layer)
        return cache

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        pytree.register_pytree_node(cls, cls.tree_flatten, cls.tree_unflatten)


def mask_sizes(cache: Any, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
    """`Cache.get_mask_sizes`, also for no cache, and for foreign ones that only know their length."""
    if cache is None:
        return query_length, 0
    if isinstance(cache, Cache):
        return cache.get_mask_sizes(query_length, layer_idx)
    past = int(cache.get_seq_length())
    return past + query_length, past
