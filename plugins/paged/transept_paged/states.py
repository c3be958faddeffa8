"""`PagedStates`: keys or values that stand in blocks, and are a tensor to whoever asks for one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

__all__ = ["PagedStates"]


class PagedStates(Tensor):
    """(batch, kv_heads, tokens, head_dim), of which only the blocks exist.

    Any operation of torch on it works on a tensor that is put together first, so every attention kernel can be given one. A
    kernel that knows it reads `storage` by `tables`, or `part`.

    Args:
        storage: (kv_heads, blocks, block_size, head_dim).
        tables: for each row, its blocks in order.
        length: tokens of each row.
    """

    storage: Tensor
    tables: tuple[tuple[int, ...], ...]
    _whole: Tensor | None

    @staticmethod
    def __new__(cls, storage: Tensor, tables: tuple[tuple[int, ...], ...], length: int) -> PagedStates:
        heads, _, _, head_dim = storage.shape
        states: PagedStates = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, (len(tables), heads, length, head_dim), dtype=storage.dtype, device=storage.device
        )
        states.storage, states.tables, states._whole = storage, tables, None
        return states

    @property
    def block_size(self) -> int:
        return self.storage.shape[2]

    @property
    def is_whole(self) -> bool:
        """The rows stand in one piece each, at even distances: reading them copies nothing."""
        return self._view() is not None

    def whole(self) -> Tensor:
        """All of it as a tensor: a view of the storage where rows stand in one piece, else a copy."""
        if self._whole is None:
            view = self._view()
            self._whole = self.part(0, self.shape[2]) if view is None else view
        return self._whole

    def part(self, start: int, stop: int) -> Tensor:
        """A copy of tokens `start` to `stop`, (batch, kv_heads, stop - start, head_dim)."""
        size, (heads, _, _, head_dim) = self.block_size, self.storage.shape
        first, last = start // size, -(-stop // size)
        blocks = torch.tensor([table[first:last] for table in self.tables], device=self.storage.device)
        found = self.storage.index_select(1, blocks.flatten()).view(heads, len(self.tables), -1, head_dim).transpose(0, 1)
        return found[:, :, start - first * size : stop - first * size]

    def _view(self) -> Tensor | None:
        starts = [table[0] for table in self.tables]
        distance = starts[1] - starts[0] if len(starts) > 1 else 0
        even = all(later - start == distance for start, later in pairwise(starts))
        if distance < 0 or not even or any(table != tuple(range(table[0], table[0] + len(table))) for table in self.tables):
            return None
        _, blocks, size, head_dim = self.storage.shape
        strides = (distance * size * head_dim, blocks * size * head_dim, head_dim, 1)
        return self.storage.as_strided(self.shape, strides, starts[0] * size * head_dim)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(PagedStates, PagedStates.whole, (args, kwargs or {}))
        return function(*args, **kwargs)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"PagedStates(shape={tuple(self.shape)}, block_size={self.block_size}, tables={self.tables})"
