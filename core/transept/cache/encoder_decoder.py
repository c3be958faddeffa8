"""Two caches for a decoder that also attends to an encoder."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from torch import Tensor

from .base import Cache
from .dynamic import DynamicCache

__all__ = ["EncoderDecoderCache"]


class EncoderDecoderCache(Cache):
    """The decoder's own keys and values, and those that it made of the encoder's output once.

    Args:
        self_attention_cache: grows as tokens come.
        cross_attention_cache: filled at the first step; `is_updated[layer]` says whether it was.
    """

    kind: ClassVar[str] = "encoder_decoder"

    def __init__(self, self_attention_cache: Cache | None = None, cross_attention_cache: Cache | None = None) -> None:
        self.self_attention_cache = self_attention_cache if self_attention_cache is not None else DynamicCache()
        self.cross_attention_cache = cross_attention_cache if cross_attention_cache is not None else DynamicCache()
        cross = self.cross_attention_cache
        self.is_updated = {index: cross.get_seq_length(index) > 0 for index in range(len(cross))}

    @property
    def layers(self) -> Any:  # type: ignore[override]
        """The decoder's own layers: lengths and masks are theirs."""
        return self.self_attention_cache.layers

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, cache_kwargs: dict[str, Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.self_attention_cache.update(key_states, value_states, layer_idx, cache_kwargs)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.self_attention_cache.batch_select_indices(indices)
        self.cross_attention_cache.batch_select_indices(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.self_attention_cache.batch_repeat_interleave(repeats)
        self.cross_attention_cache.batch_repeat_interleave(repeats)

    def to(self, device: Any) -> EncoderDecoderCache:
        self.self_attention_cache.to(device)
        self.cross_attention_cache.to(device)
        return self

    def reset(self) -> None:
        self.self_attention_cache.reset()
        self.cross_attention_cache.reset()
        self.is_updated = dict.fromkeys(self.is_updated, False)

    def tree_flatten(self) -> tuple[list[Any], Any]:
        return [self.self_attention_cache, self.cross_attention_cache], tuple(self.is_updated.items())

    @classmethod
    def tree_unflatten(cls, tensors: Any, context: Any) -> Self:
        cache = cls.__new__(cls)
        cache.self_attention_cache, cache.cross_attention_cache = tensors
        cache.is_updated = dict(context)
        return cache
