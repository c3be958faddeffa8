"""The cache that grows as tokens come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from torch import Tensor

from ..errors import UnknownArgumentError, did_you_mean
from .base import Cache, CacheLayer
from .layers import DynamicLayer, SlidingLayer
from .windows import windows_of

__all__ = ["DynamicCache", "make_dynamic", "refuse_options"]


class DynamicCache(Cache):
    """A cache that grows as tokens come, without end.

    Args:
        config: the model's configuration. Layers of the type "sliding_attention" keep no more than their window needs. Without
            one, each layer keeps everything.
    """

    def __init__(self, config: Any = None) -> None:
        windows = () if config is None else windows_of(config)
        super().__init__(DynamicLayer() if window is None else SlidingLayer(window) for window in windows)

    def new_layer(self) -> CacheLayer:
        return DynamicLayer()

    @classmethod
    def from_legacy_cache(cls, past_key_values: Iterable[tuple[Tensor, Tensor]] = ()) -> Self:
        """A cache from keys and values of each layer, (batch, kv_heads, seq, head_dim) each."""
        cache = cls()
        for layer_idx, (keys, values) in enumerate(past_key_values):
            cache.update(keys, values, layer_idx)
        return cache


def make_dynamic(
    config: Any, *, max_cache_len: int = 0, batch_size: int = 0, device: Any = None, dtype: Any = None, **cache_config: Any
) -> DynamicCache:
    """A `DynamicCache`, which takes its sizes, device and dtype from what comes."""
    refuse_options("dynamic", cache_config)
    return DynamicCache(config)


def refuse_options(key: str, options: Iterable[str], known: tuple[str, ...] = ()) -> None:
    """Raise UnknownArgumentError where `cache_config` has a name that the cache does not know."""
    for name in (name for name in options if name not in known):
        offered = f" It takes: {', '.join(f'`{each}`' for each in known)}." if known else " It takes none."
        raise UnknownArgumentError(
            f"`cache_config` has `{name}`, which the {key} cache does not know.{did_you_mean(name, known)}{offered}",
            argument=name,
        )
