"""The cache of an encoder-decoder model's decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .base import Cache, CacheLayer

__all__ = ["EncoderDecoderCache"]


class EncoderDecoderCache(Cache):
    """Two caches: of the decoder's own tokens, which grows, and of the encoder's output, which is filled once.

    A decoder layer asks `is_updated` whether its cross-attention keys are there already, and sets it when it has put them in.
    Lengths, masks and crops are those of the first.
    """

    def __init__(self, self_attention_cache: Cache, cross_attention_cache: Cache) -> None:
        self.self_attention_cache = self_attention_cache
        self.cross_attention_cache = cross_attention_cache
        filled = range(len(cross_attention_cache))
        self.is_updated: dict[int, bool] = {index: cross_attention_cache.get_seq_length(index) > 0 for index in filled}
        """By layer: the encoder's keys and values are in `cross_attention_cache`."""

    @property
    def layers(self) -> list[CacheLayer]:  # type: ignore[override]
        """The decoder's own tokens'."""
        return self.self_attention_cache.layers

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, cache_kwargs: Mapping[str, Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.self_attention_cache.update(key_states, value_states, layer_idx, cache_kwargs)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.self_attention_cache.get_seq_length(layer_idx)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.self_attention_cache.get_mask_sizes(query_length, layer_idx)

    def select_mask(self, keep: Tensor, query_length: int, layer_idx: int) -> Tensor:
        return self.self_attention_cache.select_mask(keep, query_length, layer_idx)

    @property
    def max_cache_len(self) -> int | None:
        return self.self_attention_cache.max_cache_len

    def crop(self, length: int) -> None:
        self.self_attention_cache.crop(length)

    def reset(self) -> None:
        self.self_attention_cache.reset()
        self.cross_attention_cache.reset()
        self.is_updated = dict.fromkeys(self.is_updated, False)

    def reorder_cache(self, beam_idx: Tensor, alike: int = 0) -> None:
        self.self_attention_cache.reorder_cache(beam_idx, alike)
        self.cross_attention_cache.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.self_attention_cache.batch_select_indices(indices)
        self.cross_attention_cache.batch_select_indices(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.self_attention_cache.batch_repeat_interleave(repeats)
        self.cross_attention_cache.batch_repeat_interleave(repeats)

    def offload(self) -> None:
        self.self_attention_cache.offload()
        self.cross_attention_cache.offload()

    def __getitem__(self, layer_idx: int) -> tuple[Tensor | None, ...]:
        return *self.self_attention_cache[layer_idx], *self.cross_attention_cache[layer_idx]

    def __len__(self) -> int:
        return len(self.self_attention_cache)
