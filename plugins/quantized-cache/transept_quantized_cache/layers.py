"""Layers that keep older tokens in 4 or 8 bits and the latest as they came (KIVI, https://arxiv.org/abs/2402.02750)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from transept.cache import CacheLayer
from transept.cache.layers import ROLLBACK
from transept.errors import CacheError

from .codes import dequantize, quantize

__all__ = ["GROUP", "QuantizedLayer", "QuantizedSlidingLayer", "value_group"]

GROUP = 64
"""Numbers that share a step and a lowest value where nobody says how many."""
_RECENT = ("_recent_keys", "_recent_values")
_PACKED = ("_key_codes", "_key_step", "_key_lowest", "_value_codes", "_value_step", "_value_lowest")


def value_group(head_dim: int, nbits: int, q_group_size: int | None) -> int:
    """How many neighbouring channels of a token's value share a step.

    A head that is narrower than the group is one group. Where no size is asked for, it is the largest up to 64 that divides.

    Raises:
        CacheError: the group size does not divide the head, or two 4-bit numbers do not make a byte.
    """
    sizes = [size for size in range(1, head_dim + 1) if head_dim % size == 0 and (nbits == 8 or size % 2 == 0)]
    if not sizes:
        raise CacheError(f"A head of {head_dim} channels does not pack into bytes of two 4-bit numbers. Use `nbits=8`.")
    if q_group_size is None:
        return max((size for size in sizes if size <= GROUP), default=sizes[0])
    if min(q_group_size, head_dim) not in sizes:
        raise CacheError(
            f"`q_group_size={q_group_size}` does not divide the {head_dim} channels of a head. These do: "
            f"{', '.join(map(str, sizes))}."
        )
    return min(q_group_size, head_dim)


class QuantizedLayer(CacheLayer):
    """Keys and values of every token: the latest as they came, older ones in groups of 4-bit or 8-bit numbers.

    A group is `q_group_size` tokens. Its keys are quantized by channel, since the channels of keys differ in size and stay so
    from token to token; values by token. When more than `residual_length` tokens stand in full, the oldest are grouped.
    Queries of an update see its own tokens in full, whatever becomes of them afterwards. Gradients flow through tokens in full
    and end at those that are quantized.

    Args:
        nbits: 4 or 8.
        q_group_size: tokens to a group of keys, and channels to a group of values. None: 64, or less where a head needs it.
        residual_length: tokens kept in full, at most.

    Raises:
        CacheError: another number of bits, sizes that do not fit each other, or the head.
    """

    def __init__(self, nbits: int = 4, q_group_size: int | None = None, residual_length: int = 128) -> None:
        sizes = {"q_group_size": q_group_size or GROUP, "residual_length": residual_length}
        for name, size in sizes.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise CacheError(f"`{name}` is {size!r}: give a number of tokens, 1 or more.")
        if nbits not in (4, 8) or isinstance(nbits, bool):
            raise CacheError(f"`nbits` is {nbits!r}: this cache keeps numbers of 4 or 8 bits.")
        if nbits == 4 and sizes["q_group_size"] % 2:
            raise CacheError(f"`q_group_size={q_group_size}` is odd, and two 4-bit numbers make a byte. Give an even one.")
        if residual_length < sizes["q_group_size"]:
            raise CacheError(
                f"`residual_length={residual_length}` is less than a group of {sizes['q_group_size']} tokens (`q_group_size`): tokens "
                "have to wait in full until there is a group of them."
            )
        self.nbits, self.residual_length = nbits, residual_length
        self.q_group_size = sizes["q_group_size"]
        self.length = 0
        """Tokens seen."""
        self._asked = q_group_size
        self._first = self._quantized = 0  # tokens: those from the first to `_quantized` are in groups, later ones in full
        self._channels = 0  # to a group of values
        self._recent_keys: Tensor | None = None  # (batch, kv_heads, room, head_dim), filled from the front
        self._recent_values: Tensor | None = None
        # with 4 bits, the dimension that a step is for holds two numbers to a byte
        self._key_codes: Tensor | None = None  # (batch, kv_heads, groups, tokens, head_dim)
        self._key_step: Tensor | None = None  # (batch, kv_heads, groups, 1, head_dim)
        self._key_lowest: Tensor | None = None
        self._value_codes: Tensor | None = None  # (batch, kv_heads, groups, tokens, parts of a head, channels)
        self._value_step: Tensor | None = None  # (batch, kv_heads, groups, tokens, parts of a head, 1)
        self._value_lowest: Tensor | None = None

    @property
    def keys(self) -> Tensor | None:
        """(batch, kv_heads, tokens held, head_dim), or None before there are any."""
        return None if self._recent_keys is None else self._held()[0]

    @property
    def values(self) -> Tensor | None:
        """(batch, kv_heads, tokens held, head_dim), or None before there are any."""
        return None if self._recent_values is None else self._held()[1]

    def get_seq_length(self) -> int:
        return self.length

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        count, visible = key_states.shape[2], self._visible(self.length)
        if self.length == 0 or self._recent_keys is None:
            self.reset()
            self._channels = value_group(value_states.shape[3], self.nbits, self._asked)
            keys, values = key_states, value_states
        else:
            here = self._recent_keys.shape[:2]
            if key_states.shape[:2] != here:
                raise CacheError(
                    f"The cache holds {tuple(here)} (rows, key/value heads), and {tuple(key_states.shape[:2])} came. Use a new cache "
                    "for another batch, or fit this one with `batch_select_indices` or `batch_repeat_interleave`."
                )
            keys, values = self._held(key_states, value_states)
        self.length += count
        self._keep(keys, values, count)
        start = keys.shape[2] - visible - count
        if not start:
            return keys, values
        return keys[:, :, start:], values[:, :, start:]

    def check_crop(self, length: int) -> None:
        return

    def crop(self, length: int) -> None:
        groups = (length - self._first) // self.q_group_size
        whole = self._first + groups * self.q_group_size
        if whole < self._quantized:  # the group that is cut becomes tokens in full again
            keys, values = self._held()
            part = slice(whole - self._first, length - self._first)
            self._recent_keys, self._recent_values = keys[:, :, part].clone(), values[:, :, part].clone()
            self._change(_PACKED, lambda tensor: tensor[:, :, :groups].clone())
            self._quantized = whole
        self.length = length

    def reset(self) -> None:
        self.length = self._first = self._quantized = 0
        for name in (*_RECENT, *_PACKED):
            setattr(self, name, None)

    def batch_select_indices(self, indices: Tensor) -> None:
        self._change((*_RECENT, *_PACKED), lambda tensor: tensor.index_select(0, indices.to(tensor.device)))

    def reorder(self, rows: Tensor, alike: int) -> None:
        alike_groups = max(alike - self._first, 0) // self.q_group_size
        if alike_groups < (self._quantized - self._first) // self.q_group_size:
            self._change(_PACKED, lambda tensor: _reordered(tensor, rows, alike_groups))
        if self.length > alike:
            self._change(_RECENT, lambda tensor: tensor.index_select(0, rows.to(tensor.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._change((*_RECENT, *_PACKED), lambda tensor: tensor.repeat_interleave(repeats, 0))

    def _visible(self, seen: int) -> int:
        """How many of the tokens seen the next ones may see."""
        return seen

    def _unneeded(self) -> int:
        """How many groups nobody will ask for again."""
        return 0

    def _change(self, names: tuple[str, ...], change: Callable[[Tensor], Tensor]) -> None:
        for name in names:
            if (tensor := getattr(self, name)) is not None:
                setattr(self, name, change(tensor))

    def _held(self, *new: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values that are held, in full, and new ones after them: tensors of their own."""
        count = new[0].shape[2] if new else 0
        filled, size = self.length - self._quantized, self._quantized - self._first
        found = []
        for index, (recent, packed, dim) in enumerate(
            (
                (self._recent_keys, (self._key_codes, self._key_step, self._key_lowest), -2),
                (self._recent_values, (self._value_codes, self._value_step, self._value_lowest), -1),
            )
        ):
            assert recent is not None
            batch, heads, _, head_dim = recent.shape
            out = (new[index] if new else recent).new_empty((batch, heads, size + filled + count, head_dim))
            if size:
                self._unpack(packed, dim, out[:, :, :size])
            out[:, :, size : size + filled] = recent[:, :, :filled]
            if new:
                out[:, :, size + filled :] = new[index]
            found.append(out)
        return found[0], found[1]

    def _grouped(self, states: Tensor, dim: int) -> Tensor:
        """(batch, kv_heads, tokens, head_dim) with tokens, and for values channels too, split into groups: a view."""
        groups = states.unflatten(2, (-1, self.q_group_size))
        return groups if dim == -2 else groups.unflatten(-1, (-1, self._channels))

    def _unpack(self, packed: tuple[Tensor | None, ...], dim: int, out: Tensor) -> None:
        dequantize(*packed, self.nbits, dim, self._grouped(out, dim))

    def _keep(self, keys: Tensor, values: Tensor, count: int) -> None:
        """Hold what came: the last `count` of these keys and values, which are all there are, are new."""
        size = self._quantized - self._first
        filled = keys.shape[2] - size
        groups = max(-(-(filled - self.residual_length) // self.q_group_size), 0)
        if groups:
            stop = size + groups * self.q_group_size
            for names, states, dim in ((_PACKED[:3], keys, -2), (_PACKED[3:], values, -1)):
                packed = quantize(self._grouped(states[:, :, size:stop], dim), self.nbits, dim)
                for name, tensor in zip(names, packed, strict=True):
                    held = getattr(self, name)
                    setattr(self, name, tensor if held is None else torch.cat((held, tensor), 2))
            self._quantized += groups * self.q_group_size
            if unneeded := self._unneeded():
                self._change(_PACKED, lambda tensor: tensor[:, :, unneeded:].clone())
                self._first += unneeded * self.q_group_size
            self._recent_keys = self._recent_values = None
        else:
            stop = size
        self._recent_keys = self._put(self._recent_keys, keys[:, :, stop:], filled - count)
        self._recent_values = self._put(self._recent_values, values[:, :, stop:], filled - count)

    def _put(self, storage: Tensor | None, states: Tensor, held: int) -> Tensor:
        """Storage with these states at its front, the first `held` of which stand there already."""
        size = states.shape[2]
        if torch.is_grad_enabled():
            return states.clone()  # nothing is written on that autograd may have saved
        if (
            storage is None
            or storage.shape[2] < size
            or storage.dtype != states.dtype
            or (storage.is_inference() and not torch.is_inference_mode_enabled())
        ):
            room = min(size + max(size // 8, 16), self.residual_length)  # little, since it counts as memory
            storage, held = states.new_empty((*states.shape[:2], room, states.shape[3])), 0
        storage[:, :, held:size] = states[:, :, held:]
        return storage


class QuantizedSlidingLayer(QuantizedLayer):
    """A `QuantizedLayer` for attention that sees `window` keys, the query's own among them: groups before those are dropped.

    Some tokens more are kept, so that tokens which were only tried can be cropped.
    """

    is_sliding: ClassVar[bool] = True

    def __init__(self, window: int, **options: int | None) -> None:
        super().__init__(**options)
        self.window = window

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        past = self._visible(self.length)
        return past + query_length, past

    def check_crop(self, length: int) -> None:
        if length - self._visible(length) < self._first:
            most = self.length - self._first - self.window + 1
            raise CacheError(
                f"{self.length - length} tokens cannot be cropped: after them a window of {self.window} needs keys that are gone. "
                f"At most {most} can. Crop after fewer tokens, or use a cache that keeps all, such as `DynamicCache()`."
            )

    def _visible(self, seen: int) -> int:
        return min(seen, self.window - 1)

    def _unneeded(self) -> int:
        needed = self.length - (self.window - 1 + ROLLBACK)
        return max(min(needed, self._quantized) - self._first, 0) // self.q_group_size


def _reordered(tensor: Tensor, rows: Tensor, start: int) -> Tensor:
    """The rows from `start` on in dimension 2 chosen anew; those before it are alike."""
    chosen = tensor[:, :, start:].index_select(0, rows.to(tensor.device))
    return torch.cat((tensor[:, :, :start], chosen), 2) if start else chosen
