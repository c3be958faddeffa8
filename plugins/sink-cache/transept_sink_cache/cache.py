"""Attention sinks (StreamingLLM, https://arxiv.org/abs/2309.17453): the first tokens and a window of the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from transept.cache import Cache, CacheLayer, SlidingLayer, refuse_options
from transept.cache.windows import windows_of
from transept.errors import CacheError
from transept.nn import RotaryEmbedding, apply_rotary

__all__ = ["SinkCache", "SinkLayer", "make_sink"]

_OPTIONS = ("window_length", "num_sink_tokens")
_STRETCHED = ("dynamic", "longrope")


class _Turn(RotaryEmbedding):
    """The model's rotations alone, without the factor by which some kinds change the scores."""

    def reset_buffers(self, device: torch.device | str | None = None) -> None:
        super().reset_buffers(device)
        self.attention_factor = 1.0


class SinkLayer(CacheLayer):
    """Keys and values of the first `num_sink_tokens` tokens of each row, and of the last ones up to `window_length` in all.

    Keys come rotated to their tokens' positions, which go on counting. As tokens between sinks and window are dropped, the keys
    of the sinks are given as if they stood right before the window: turned on by as many positions as are missing. Attention
    over rotary positions sees distances alone, so this is what the paper's counting within the cache gives.

    Args:
        num_sink_tokens, window_length: the sinks are part of the window.
        rotary: the model's rotary embedding.
    """

    def __init__(self, num_sink_tokens: int, window_length: int, rotary: RotaryEmbedding) -> None:
        self.num_sink_tokens, self.window_length = num_sink_tokens, window_length
        self.recent = SlidingLayer(window_length - num_sink_tokens)
        """The tokens after the head."""
        self.length = 0
        """Tokens seen."""
        self._rotary = rotary
        self._padding = 0  # of the row that has most
        self._starts: Tensor | None = None  # LongTensor (batch,): each row's first token that is no padding; None: 0
        self._head_keys: Tensor | None = None  # (batch, kv_heads, first tokens, head_dim): the padding and sinks of every row
        self._head_values: Tensor | None = None

    @property
    def keys(self) -> Tensor | None:
        """(batch, kv_heads, tokens held, head_dim), as they came, or None before there are any."""
        return self._joined(self._head_keys, self.recent.keys)

    @property
    def values(self) -> Tensor | None:
        """(batch, kv_heads, tokens held, head_dim), or None before there are any."""
        return self._joined(self._head_values, self.recent.values)

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        past = min(self.length, self._head)
        if self.length > past:
            past += self.recent.get_mask_sizes(query_length)[1]
        return past + query_length, past

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        if self._head_keys is None or self._head_values is None:
            return self._begin(key_states, value_states)
        if key_states.shape[:2] != self._head_keys.shape[:2]:
            raise CacheError(
                f"The cache holds {tuple(self._head_keys.shape[:2])} (rows, key/value heads), and {tuple(key_states.shape[:2])} came. "
                "Use a new cache for another batch, or fit this one with `batch_select_indices` or `batch_repeat_interleave`."
            )
        old_keys, old_values = self._turned(self._head_keys), self._head_values
        count = min(max(self._head - self.length, 0), key_states.shape[2])
        self.length += key_states.shape[2]
        if count:
            self._head_keys = torch.cat((self._head_keys, key_states[:, :, :count]), 2)
            self._head_values = torch.cat((self._head_values, value_states[:, :, :count]), 2)
        keys, values = key_states, value_states
        if count < key_states.shape[2]:
            later = self.recent.update(key_states[:, :, count:], value_states[:, :, count:])
            keys, values = (
                later if not count else (key_states, value_states)
            )  # with some for the head, none came after it before
        return torch.cat((old_keys, keys), 2), torch.cat((old_values, values), 2)

    def see_padding(self, keep: Tensor) -> None:
        """Learn where each row begins, as long as some row has only padding so far.

        Args:
            keep: bool (batch, tokens), those of the next update last.
        """
        if self.length <= self._padding:
            self._starts = torch.where(keep.any(1), keep.to(torch.uint8).argmax(1), keep.shape[1])
            # what is held at the front never shrinks, though the row with most padding may be gone
            self._padding = max(self._padding, int(self._starts.max()))

    def select_mask(self, keep: Tensor, query_length: int) -> Tensor:
        """The columns of the keys that the next update gives, of a mask over all tokens."""
        head = min(self._head, keep.shape[1])
        given = self.get_mask_sizes(query_length)[0] - head
        first, later = keep[:, :head], keep[:, keep.shape[1] - given :]
        if self._padding and self._starts is not None:  # where another row has its padding, one has tokens after its sinks
            places = torch.arange(head, device=keep.device)
            dropped = (places >= self._starts[:, None] + self.num_sink_tokens) & (places < self._window_start)
            first = first & ~dropped
        return torch.cat((first, later), 1)

    def check_crop(self, length: int) -> None:
        rest = length - self._head
        if 0 < rest < self.recent.get_seq_length():
            try:
                self.recent.check_crop(rest)
            except CacheError:
                raise CacheError(
                    f"{self.length - length} tokens cannot be cropped: after them the window of {self.window_length} needs keys that "
                    "are gone. Crop after fewer tokens, or use a cache that keeps all, such as `transept.DynamicCache`."
                ) from None

    def crop(self, length: int) -> None:
        if length <= self._head:
            self.recent.reset()
            if self._head_keys is not None and self._head_values is not None:
                self._head_keys, self._head_values = self._head_keys[:, :, :length], self._head_values[:, :, :length]
        else:
            self.recent.crop(length - self._head)
        self.length = length

    def reset(self) -> None:
        self.recent.reset()
        self.length = self._padding = 0
        self._starts = self._head_keys = self._head_values = None

    def batch_select_indices(self, indices: Tensor) -> None:
        self.recent.batch_select_indices(indices)
        for name in ("_starts", "_head_keys", "_head_values"):
            if (tensor := getattr(self, name)) is not None:
                setattr(self, name, tensor.index_select(0, indices.to(tensor.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.recent.batch_repeat_interleave(repeats)
        for name in ("_starts", "_head_keys", "_head_values"):
            if (tensor := getattr(self, name)) is not None:
                setattr(self, name, tensor.repeat_interleave(repeats, 0))

    @property
    def _head(self) -> int:
        """How many of the first tokens are kept for ever."""
        return self._padding + self.num_sink_tokens

    @property
    def _window_start(self) -> int:
        """The first token that the next one sees, beside sinks."""
        return self.length - (self.window_length - self.num_sink_tokens - 1)

    def _begin(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        self.length = key_states.shape[2]
        # copies: a few tokens' view would hold the whole prompt
        self._head_keys, self._head_values = (part[:, :, : self._head].clone() for part in (key_states, value_states))
        if self.length > self._head:
            self.recent.update(key_states[:, :, self._head :], value_states[:, :, self._head :])
        return key_states, value_states

    def _turned(self, keys: Tensor) -> Tensor:
        """The head's keys, with those of sinks turned on to right before the window."""
        missing = self._window_start - self.num_sink_tokens
        if missing <= 0:
            return keys
        if not self._padding or self._starts is None:
            places = torch.full((1, 1), missing, device=keys.device)
        else:
            starts, columns = self._starts.to(keys.device)[:, None], torch.arange(keys.shape[2], device=keys.device)
            places = torch.where(columns < starts + self.num_sink_tokens, (missing - starts).clamp(min=0), 0)
        exact = keys.float()
        if self._rotary.inv_freq.device != keys.device:
            self._rotary.to(keys.device)
        return apply_rotary(exact, exact, *self._rotary(exact, places))[1].to(keys.dtype)

    @staticmethod
    def _joined(head: Tensor | None, recent: Tensor | None) -> Tensor | None:
        return head if head is None or recent is None else torch.cat((head, recent), 2)


class SinkCache(Cache):
    """A cache that holds no more than `window_length` tokens, however long the text: the first ones and the last.

    The queries of an update see the sinks, the last tokens before it, and its own tokens; so a prompt that is run at once is
    attended to in full.

    Args:
        config: the model's configuration. Its layers attend over rotary positions; those that see no more than `window_length`
            keys anyway slide without sinks, as they were trained to.
        window_length: tokens held, the sinks among them.
        num_sink_tokens: the first tokens, which are never dropped.

    Raises:
        CacheError: numbers that do not fit each other or the model's context, or a model whose positions cannot be moved.
    """

    endless: ClassVar[bool] = True

    def __init__(self, config: Any, *, window_length: int = 256, num_sink_tokens: int = 4) -> None:
        for name, number, least in (("window_length", window_length, 1), ("num_sink_tokens", num_sink_tokens, 0)):
            if not isinstance(number, int) or isinstance(number, bool) or number < least:
                raise CacheError(f"`{name}` is {number!r}: give a number of tokens, {least} or more.")
        if window_length <= num_sink_tokens:
            raise CacheError(
                f"`window_length={window_length}` leaves no room beside `num_sink_tokens={num_sink_tokens}`: the sinks are part of it."
            )
        config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
        context = getattr(config, "max_position_embeddings", None)
        if context is not None and window_length > context:
            raise CacheError(
                f"`window_length={window_length}` is more than the model's context of {context} tokens (`max_position_embeddings`)."
            )
        rotary = _rotary(config)
        super().__init__(
            SlidingLayer(window)
            if window is not None and window <= window_length
            else SinkLayer(num_sink_tokens, window_length, rotary)
            for window in windows_of(config)
        )

    def select_mask(self, keep: Tensor, query_length: int, layer_idx: int) -> Tensor:
        for layer in self.layers:
            if isinstance(layer, SinkLayer):
                layer.see_padding(keep)
        layer = self.layers[layer_idx]
        return (
            layer.select_mask(keep, query_length)
            if isinstance(layer, SinkLayer)
            else super().select_mask(keep, query_length, layer_idx)
        )


def _rotary(config: Any) -> RotaryEmbedding:
    parameters = getattr(config, "rope_parameters", None)
    if not isinstance(parameters, Mapping) or not parameters:
        raise CacheError(
            f"`{type(config).__name__}` has no `rope_parameters`: as tokens are dropped, keys must be moved, and only rotary positions "
            "can be. Use another cache, such as `transept.DynamicCache`."
        )
    if any(isinstance(value, Mapping) for value in parameters.values()):
        raise CacheError(
            "The layers have rotary positions of several kinds, and the sink cache moves keys by one. Use another cache."
        )
    kind = parameters.get("rope_type") or "default"
    if kind in _STRETCHED:
        raise CacheError(
            f"`rope_type` is `{kind}`, whose frequencies change as the text grows: keys that were rotated before cannot be moved. Use "
            "another cache, such as `transept.DynamicCache`."
        )
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    longest = getattr(config, "max_position_embeddings", None) or 0
    return _Turn(parameters, head_dim=head_dim, max_position_embeddings=longest)


def make_sink(
    config: Any, *, max_cache_len: int = 0, batch_size: int = 0, device: Any = None, dtype: Any = None, **cache_config: Any
) -> SinkCache:
    """A `SinkCache`; `cache_config` may have `window_length` and `num_sink_tokens`."""
    refuse_options("sink", cache_config, _OPTIONS)
    return SinkCache(config, **cache_config)
