"""What a cache is: a layer for each attention layer of the model, each with one length that masks, crops and writes go by."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree

from ..errors import CacheError

__all__ = ["Cache", "CacheLayer", "mask_sizes"]


def _register(cls: Any) -> None:
    """Make a pytree of a class that has `flatten` and `unflatten`."""

    def flatten(instance: Any) -> tuple[list[Any], list[Any]]:
        parts, fixed = instance.flatten()
        return list(parts.values()), [list(parts), fixed]

    def flatten_with_keys(instance: Any) -> tuple[list[tuple[Any, Any]], list[Any]]:
        parts, fixed = instance.flatten()
        return [(_pytree.GetAttrKey(name), part) for name, part in parts.items()], [list(parts), fixed]

    def unflatten(leaves: Iterable[Any], context: list[Any]) -> Any:
        names, fixed = context
        return cls.unflatten(dict(zip(names, leaves, strict=True)), fixed)

    name = f"{cls.__module__}.{cls.__qualname__}"
    _pytree.register_pytree_node(cls, flatten, unflatten, serialized_type_name=name, flatten_with_keys_fn=flatten_with_keys)


class CacheLayer:
    """One attention layer's part of a cache.

    A kind of its own overrides `update` and `get_seq_length`, and of the rest what it can do. Keys and values are
    (batch, kv_heads, seq, head_dim). Every subclass is a pytree (`flatten`, `unflatten`).
    """

    is_sliding: ClassVar[bool] = False

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Take the keys and values of new tokens, and give all that their queries may see, the new ones last."""
        raise NotImplementedError

    def get_seq_length(self) -> int:
        """Tokens seen so far, whether their keys are still held or not."""
        raise NotImplementedError

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """For an `update` with so many tokens: how many keys it will give, and the index of the first new one among them."""
        past = self.get_seq_length()
        return past + query_length, past

    @property
    def max_cache_len(self) -> int | None:
        """Tokens that it can hold; None: any number."""
        return None

    def check_crop(self, length: int) -> None:
        """Raise CacheError where `crop(length)` is impossible."""

    def crop(self, length: int) -> None:
        """Forget all but the first `length` tokens, which are fewer than those seen."""
        raise self._cannot("crop")

    def reset(self) -> None:
        """Forget all tokens."""
        raise self._cannot("reset")

    def batch_select_indices(self, indices: Tensor) -> None:
        """Row i becomes what row `indices[i]` is; LongTensor (new batch,)."""
        raise self._cannot("batch_select_indices")

    def reorder(self, rows: Tensor, alike: int) -> None:
        """As `batch_select_indices`, for rows whose first `alike` tokens are the same; LongTensor (batch,)."""
        self.batch_select_indices(rows)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row: (a, b) becomes (a, a, b, b)."""
        raise self._cannot("batch_repeat_interleave")

    def offload(self) -> None:
        """Take what it holds off the device that computes, until the next update."""
        raise self._cannot("offload", '`cache_implementation="offloaded"`')

    def flatten(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The tensors held, or layers that this one is made of, by name; and whatever else `unflatten` needs: all attributes."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor | CacheLayer)}
        return tensors, {name: value for name, value in vars(self).items() if name not in tensors}

    @classmethod
    def unflatten(cls, tensors: Mapping[str, Any], fixed: Mapping[str, Any]) -> Self:
        """A layer like the one that was flattened, around other tensors."""
        layer = cls.__new__(cls)
        vars(layer).update(fixed, **tensors)
        return layer

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that goes its own way; gradients flow through it as through this one."""
        tensors, fixed = self.flatten()
        return self.unflatten(_pytree.tree_map(torch.clone, tensors), copy.deepcopy(fixed, memo))

    def __getstate__(self) -> Any:
        tensors, fixed = self.flatten()
        return _pytree.tree_map(lambda tensor: tensor.detach().clone(), tensors), fixed  # without the room behind them

    def __setstate__(self, state: Any) -> None:
        vars(self).update(vars(self.unflatten(*state)))

    def _cannot(self, what: str, instead: str = "`transept.DynamicCache`") -> CacheError:
        return CacheError(f"`{type(self).__name__}` has no `{what}`. Use another cache, such as {instead}.")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _register(cls)


class Cache:
    """Keys and values of the tokens that a model has seen, for each of its attention layers. Every subclass is a pytree.

    Attributes:
        layers: one `CacheLayer` for each attention layer. A subclass may make them as they come (`new_layer`).
    """

    endless: ClassVar[bool] = False
    """Text may go on past the model's context."""

    def __init__(self, layers: Iterable[CacheLayer] = ()) -> None:
        self.layers: list[CacheLayer] = list(layers)

    def new_layer(self) -> CacheLayer:
        """A layer for the first index that there is none for."""
        raise CacheError(
            f"This `{type(self).__name__}` was made for {len(self.layers)} layers, and the model has more: make it from the "
            "model's own configuration."
        )

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, cache_kwargs: Mapping[str, Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Take a layer's keys and values of new tokens, (batch, kv_heads, seq, head_dim), and give all its queries may see.

        What it gives may be views of storage that later calls write on, behind the end of the view.

        Args:
            cache_kwargs: for kinds of caches that must be told more; the core's own need nothing.

        Raises:
            CacheError: they do not fit what is held, or there is no room for them; nothing was written.
        """
        while layer_idx >= len(self.layers):
            self.layers.append(self.new_layer())
        return self.layers[layer_idx].update(key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen so far."""
        return self.layers[layer_idx].get_seq_length() if layer_idx < len(self.layers) else 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """For an update with so many tokens: how many keys the layer will give, and the index of the first new one among them."""
        if layer_idx >= len(self.layers):
            return query_length, 0
        return self.layers[layer_idx].get_mask_sizes(query_length)

    def select_mask(self, keep: Tensor, query_length: int, layer_idx: int) -> Tensor:
        """Of a mask over all tokens, those of the next update last, the columns of the keys that the layer will give.

        bool (batch, tokens) to (batch, keys). By default the last tokens' keys are given, in front of room that is empty.
        """
        key_length, offset = self.get_mask_sizes(query_length, layer_idx)
        given = offset + query_length
        return F.pad(keep[:, keep.shape[1] - given :], (0, key_length - given))

    @property
    def max_cache_len(self) -> int | None:
        """Tokens that it can hold; None: any number."""
        return min((most for layer in self.layers if (most := layer.max_cache_len) is not None), default=None)

    def crop(self, length: int) -> None:
        """Forget tokens: a positive length keeps so many of the first, a negative one takes so many of the last away.

        0 takes none away, as in `crop(-n)` with n = 0. To forget them all, call `reset()`.

        Raises:
            CacheError: there are not so many, or a sliding layer no longer holds what it would need; nothing was changed.
        """
        seen = self.get_seq_length()
        if length < -seen:
            raise CacheError(f"`crop({length})`: the cache has seen only {seen} tokens. To forget them all, call `reset()`.")
        remaining = length if length > 0 else seen + length
        longer = [layer for layer in self.layers if layer.get_seq_length() > remaining]
        for layer in longer:
            layer.check_crop(remaining)
        for layer in longer:
            layer.crop(remaining)

    def reset(self) -> None:
        """Forget all tokens."""
        for layer in self.layers:
            layer.reset()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Row i becomes what row `indices[i]` is; LongTensor (new batch,)."""
        for layer in self.layers:
            layer.batch_select_indices(indices)

    def reorder_cache(self, beam_idx: Tensor, alike: int = 0) -> None:
        """Row i goes on from what row `beam_idx[i]` has, LongTensor (batch,); the first `alike` tokens of both are the same."""
        if not alike:
            return self.batch_select_indices(beam_idx)
        for layer in self.layers:
            layer.reorder(beam_idx, alike)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row: (a, b) becomes (a, a, b, b)."""
        for layer in self.layers:
            layer.batch_repeat_interleave(repeats)

    def offload(self) -> None:
        """Take everything off the device that computes, until the next update."""
        for layer in self.layers:
            layer.offload()

    def to_legacy_cache(self) -> tuple[tuple[Tensor | None, ...], ...]:
        """Keys and values of each layer as tuples, for libraries that want those."""
        return tuple(self[index] for index in range(len(self)))

    def __getitem__(self, layer_idx: int) -> tuple[Tensor | None, ...]:
        layer: Any = self.layers[layer_idx]
        return layer.keys, layer.values

    def __len__(self) -> int:
        return len(self.layers)

    def __bool__(self) -> bool:
        return True  # a cache whose layers are still to come is a cache

    def __repr__(self) -> str:
        return f"{type(self).__name__}(layers={len(self)}, seq_length={self.get_seq_length()})"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _register(cls)

    def flatten(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The layers, or the caches that it is made of, which are pytrees again; and the other attributes."""
        parts = {name: value for name, value in vars(self).items() if name == "layers" or isinstance(value, Cache)}
        return parts, {name: value for name, value in vars(self).items() if name not in parts}

    @classmethod
    def unflatten(cls, parts: Mapping[str, Any], fixed: Mapping[str, Any]) -> Self:
        """A cache like the one that was flattened, of other parts."""
        cache = cls.__new__(cls)
        vars(cache).update(fixed, **parts)
        return cache


def mask_sizes(cache: Any, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
    """How many keys a layer's queries will meet, and the index of the first query among them.

    Args:
        cache: None, a `Cache`, the peer's, or any object with `update` and `get_seq_length` that keeps every key.
    """
    if cache is None:
        return query_length, 0
    if isinstance(cache, Cache):
        return cache.get_mask_sizes(query_length, layer_idx)
    if hasattr(cache, "get_query_offset"):  # the peer's caches tell the position of the first key in place of the query's index
        key_length, first = cache.get_mask_sizes(query_length, layer_idx)
        return int(key_length), int(cache.get_query_offset(layer_idx)) - int(first)
    past = int(cache.get_seq_length())
    return past + query_length, past


_register(Cache)
