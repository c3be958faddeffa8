"""The cache whose layers live elsewhere, and what `generate` makes it from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from transept.cache import Cache, CacheLayer, DynamicLayer, SlidingLayer, refuse_options
from transept.cache.windows import windows_of
from transept.errors import CacheError

from .transport import Transport, transport_between

__all__ = ["OffloadedCache", "OffloadedLayer", "make_offloaded"]

_OPTIONS = ("offload_device", "offload_only_non_sliding")


class OffloadedLayer(CacheLayer):
    """A layer that lives on another device, as a copy of what its next queries may see comes to the one that computes.

    Every token is copied home once. Where the two devices are one, nothing is copied.

    Args:
        home: the layer that keeps everything, on `device`.
        device: where that is.
        way: from the computing device and that one to a way between them; None where they are one.
    """

    def __init__(
        self,
        home: CacheLayer,
        device: torch.device,
        way: Callable[[torch.device, torch.device], Transport | None] = transport_between,
    ) -> None:
        self.home, self.device, self._way = home, device, way
        self._transport: Transport | None = None
        self._compute: torch.device | None = None
        self._brought: tuple[tuple[Tensor, Tensor], Any] | None = None  # what the next queries see, on the computing device
        self._mode = (False, False)  # in which it was brought: with gradients, in inference mode
        self._new: tuple[tuple[Tensor, Tensor], Any] | None = None  # the last tokens, which are still to go home

    @property
    def is_sliding(self) -> bool:  # type: ignore[override]
        return self.home.is_sliding

    @property
    def keys(self) -> Tensor | None:
        """(batch, kv_heads, tokens held, head_dim) where they live, or None before there are any."""
        self.settle()
        return self.home.keys

    @property
    def values(self) -> Tensor | None:
        """(batch, kv_heads, tokens held, head_dim) where they live, or None before there are any."""
        self.settle()
        return self.home.values

    @property
    def max_cache_len(self) -> int | None:
        return self.home.max_cache_len

    def get_seq_length(self) -> int:
        return self.home.get_seq_length() + (self._new[0][0].shape[2] if self._new is not None else 0)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        self.settle()
        return self.home.get_mask_sizes(query_length)

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        if self._compute != key_states.device:
            self.offload()
            self._compute, self._transport = key_states.device, self._way(key_states.device, self.device)
        if self._transport is None:
            return self.home.update(key_states, value_states)
        self.settle()
        self.fetch()
        brought, self._brought = self._brought, None
        if brought is None:
            keys, values = key_states, value_states
        else:
            (old_keys, old_values), ticket = brought
            if old_keys.shape[:2] != key_states.shape[:2]:
                self._brought = brought
                raise CacheError(
                    f"The cache holds {tuple(old_keys.shape[:2])} (rows, key/value heads), and {tuple(key_states.shape[:2])} came. "
                    "Use a new cache for another batch, or fit this one with `batch_select_indices` or `batch_repeat_interleave`."
                )
            self._transport.wait(ticket, (old_keys, old_values))
            keys, values = torch.cat((old_keys, key_states), 2), torch.cat((old_values, value_states), 2)
        self._new = (key_states, value_states), self._transport.mark()
        return keys, values

    def settle(self) -> None:
        """Let the last tokens go home."""
        if self._new is not None and self._transport is not None:
            pair, mark = self._new
            self._new = None
            self.home.update(*self._transport.take(pair, mark))

    def fetch(self) -> None:
        """Begin to bring what the next queries see, unless that is under way."""
        mode = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        if self._transport is None or (self._brought is not None and self._mode == mode):
            return  # what came in another mode lacks its gradients, or cannot have any
        self._brought, self._mode = None, mode
        self.settle()
        keys, values, visible = self.home.keys, self.home.values, self.home.get_mask_sizes(1)[1]
        if visible and keys is not None and values is not None:
            start = keys.shape[2] - visible
            self._brought = self._transport.bring((keys[:, :, start:], values[:, :, start:]))

    def offload(self) -> None:
        self.settle()
        self._brought = None

    def check_crop(self, length: int) -> None:
        self.settle()
        self.home.check_crop(length)

    def crop(self, length: int) -> None:
        self.offload()
        self.home.crop(length)

    def reset(self) -> None:
        self._new = self._brought = None
        self.home.reset()

    def batch_select_indices(self, indices: Tensor) -> None:
        self.offload()
        self.home.batch_select_indices(indices)

    def reorder(self, rows: Tensor, alike: int) -> None:
        self.offload()
        self.home.reorder(rows, alike)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.offload()
        self.home.batch_repeat_interleave(repeats)

    def flatten(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What lives at home. A copy finds its own way when it is used."""
        self.settle()
        return {"home": self.home}, {"device": self.device, "_way": self._way}

    @classmethod
    def unflatten(cls, tensors: Mapping[str, Any], fixed: Mapping[str, Any]) -> Self:
        return cls(tensors["home"], fixed["device"], fixed["_way"])


class _PinnedDynamicLayer(DynamicLayer):
    """Storage from which a GPU can copy by itself, where the first tokens came in such."""

    def _storage(self, like: Tensor, room: int) -> Tensor:
        return _storage(like, room)


class _PinnedSlidingLayer(SlidingLayer):
    def _storage(self, like: Tensor, room: int) -> Tensor:
        return _storage(like, room)


def _storage(like: Tensor, room: int) -> Tensor:
    batch, heads, _, head_dim = like.shape
    pinned = like.device.type == "cpu" and like.is_pinned()
    return torch.empty((batch, heads, room, head_dim), dtype=like.dtype, device=like.device, pin_memory=pinned)


class OffloadedCache(Cache):
    """A cache that grows as tokens come and lives on another device; the one that computes holds two layers of it at a time.

    As a layer attends, the next one's keys and values come, and the new ones of the layer before go home: on a CUDA device on a
    stream of their own, from pinned memory.

    Args:
        config: the model's configuration. Layers of the type "sliding_attention" keep no more than their window needs. Without
            one, each layer keeps everything.
        offload_device: where keys and values live.
        offload_only_non_sliding: layers that slide stay on the device that computes, since they are small.

    Raises:
        CacheError: the device is none that can hold something here.
    """

    def __init__(
        self, config: Any = None, *, offload_device: torch.device | str = "cpu", offload_only_non_sliding: bool = False
    ) -> None:
        self.offload_device = _device(offload_device)
        self.offload_only_non_sliding = offload_only_non_sliding
        super().__init__(self._layer(window) for window in (() if config is None else windows_of(config)))

    def new_layer(self) -> CacheLayer:
        return self._layer(None)

    def _layer(self, window: int | None) -> CacheLayer:
        if window is None:
            return OffloadedLayer(_PinnedDynamicLayer(), self.offload_device)
        if self.offload_only_non_sliding:
            return SlidingLayer(window)
        return OffloadedLayer(_PinnedSlidingLayer(window), self.offload_device)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, cache_kwargs: Mapping[str, Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        given = super().update(key_states, value_states, layer_idx, cache_kwargs)
        before, after = self.layers[layer_idx - 1], self.layers[(layer_idx + 1) % len(self.layers)]
        if isinstance(before, OffloadedLayer) and len(self.layers) > 1:
            before.settle()
        if isinstance(after, OffloadedLayer) and len(self.layers) > 1:
            after.fetch()
        return given

    def offload(self) -> None:
        for layer in self.layers:
            if isinstance(layer, OffloadedLayer):  # those that slide may be meant to stay
                layer.offload()


def _device(given: Any) -> torch.device:
    try:
        device = torch.device(given)
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise CacheError(
            f"`offload_device` is {given!r}, and no such device is here ({error}). The usual one is 'cpu'."
        ) from error
    if device.type == "meta":
        raise CacheError("`offload_device` is 'meta', which holds no data. The usual one is 'cpu'.")
    return device


def make_offloaded(
    config: Any, *, max_cache_len: int = 0, batch_size: int = 0, device: Any = None, dtype: Any = None, **cache_config: Any
) -> OffloadedCache:
    """An `OffloadedCache`; `cache_config` may have `offload_device` and `offload_only_non_sliding`."""
    refuse_options("offloaded", cache_config, _OPTIONS)
    return OffloadedCache(config, **cache_config)
