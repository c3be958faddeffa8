"""The cache whose layers are quantized, and what `generate` makes it from."""

from __future__ import annotations

from typing import Any

from transept.cache import Cache, CacheLayer, SlidingLayer, refuse_options
from transept.cache.windows import windows_of
from transept.errors import UnknownArgumentError

from .layers import QuantizedLayer, QuantizedSlidingLayer, value_group

__all__ = ["QuantizedCache", "make_quantized"]

_OPTIONS = ("nbits", "q_group_size", "residual_length")
_BACKENDS = ("backend", "axis_key", "axis_value")


class QuantizedCache(Cache):
    """A cache that grows as tokens come, and keeps all but the latest in 4 or 8 bits (KIVI, https://arxiv.org/abs/2402.02750).

    Args:
        config: the model's configuration. Layers that see a window of more than `residual_length` keys drop what is before it;
            those that see fewer keep them as they came. Without a configuration, each layer keeps everything.
        nbits: 4 or 8.
        q_group_size: numbers that share a step and a lowest value: tokens for keys, channels for values. None: 64, or what of
            a head's channels comes next to it.
        residual_length: the latest tokens that are kept as they came, at most. They are at least `q_group_size`.

    Raises:
        CacheError: sizes that do not fit each other or the model's heads.
    """

    def __init__(
        self, config: Any = None, *, nbits: int = 4, q_group_size: int | None = None, residual_length: int = 128
    ) -> None:
        self._options = {"nbits": nbits, "q_group_size": q_group_size, "residual_length": residual_length}
        self.new_layer()
        super().__init__(self._layer(window) for window in (() if config is None else windows_of(config)))
        if (head_dim := _head_dim(config)) is not None:
            value_group(head_dim, nbits, q_group_size)

    def new_layer(self) -> CacheLayer:
        return QuantizedLayer(**self._options)

    def _layer(self, window: int | None) -> CacheLayer:
        if window is None:
            return self.new_layer()
        if window <= self._options["residual_length"]:
            return SlidingLayer(window)
        return QuantizedSlidingLayer(window, **self._options)


def _head_dim(config: Any) -> int | None:
    """Channels of a head, as far as the configuration tells; None where it doesn't, and the first tokens do."""
    config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    hidden_size, heads = getattr(config, "hidden_size", None), getattr(config, "num_attention_heads", None)
    return getattr(config, "head_dim", None) or (hidden_size // heads if hidden_size and heads else None)


def make_quantized(
    config: Any, *, max_cache_len: int = 0, batch_size: int = 0, device: Any = None, dtype: Any = None, **cache_config: Any
) -> QuantizedCache:
    """A `QuantizedCache`; `cache_config` may have `nbits`, `q_group_size` and `residual_length`."""
    for name in _BACKENDS:
        if name in cache_config:
            raise UnknownArgumentError(
                f"`cache_config` has `{name}`, and this cache quantizes by itself, keys by channel and values by token: leave it out.",
                argument=name,
            )
    refuse_options("quantized", cache_config, _OPTIONS)
    return QuantizedCache(config, **cache_config)
