"""The cache `paged`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from transept.cache import Cache, CacheLayer, refuse_options
from transept.errors import CacheError

from .pool import BlockPool
from .states import PagedStates

__all__ = ["PagedCache", "PagedLayer", "make_paged"]


class PagedLayer(CacheLayer):
    """Keys and values of every token, in blocks of a pool (https://arxiv.org/abs/2309.06180).

    Each row has a table of blocks. Repeating, choosing and reordering rows copies tables and no token; a block that several rows
    use is copied when one of them writes on it.

    Args:
        pool: where the blocks come from; layers of caches that were forked share it.
        rows: how many are expected, to keep each in one piece.
    """

    def __init__(self, pool: BlockPool, rows: int | None = None) -> None:
        self.pool = pool
        self.length = 0
        self._rows = rows
        self._tables: list[list[int]] = []
        self._given: tuple[Any, Any] | None = None  # keys and values to be taken in at the next use

    @property
    def tables(self) -> tuple[tuple[int, ...], ...]:
        """For each row, its blocks in order."""
        self._settle()
        return tuple(map(tuple, self._tables))

    @property
    def keys(self) -> Tensor | None:
        """(batch, kv_heads, tokens, head_dim), a view or a copy, or None before there are any."""
        return self._read(self.pool.keys)

    @property
    def values(self) -> Tensor | None:
        """(batch, kv_heads, tokens, head_dim), a view or a copy, or None before there are any."""
        return self._read(self.pool.values)

    @property
    def max_cache_len(self) -> int | None:
        free, rows = self.pool.free, len(self._tables) or self._rows or 1
        if free is None:
            return None
        return (len(self._tables[0]) if self._tables else 0) * self.pool.block_size + free // rows * self.pool.block_size

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        self._settle()
        self._needed(len(self._tables) or self._rows or 1, query_length)
        return self.length + query_length, self.length

    def update(self, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        self._settle()
        self._check(key_states, value_states)
        rows, count = key_states.shape[0], key_states.shape[2]
        needed = self._needed(rows, count)
        with torch.no_grad():
            self.pool.prepare(key_states, value_states, needed)
            self._extend(rows, count)
            self._write(key_states, value_states)
        self.length += count
        assert self.pool.keys is not None
        assert self.pool.values is not None
        tables = self.tables
        return PagedStates(self.pool.keys, tables, self.length), PagedStates(self.pool.values, tables, self.length)

    def fork(self) -> PagedLayer:
        """A layer that goes on from the same tokens, which both use and neither copies."""
        self._settle()
        twin = type(self)(self.pool, self._rows)
        twin.length = self.length
        twin._tables = [[self.pool.share(block) for block in table] for table in self._tables]
        return twin

    def crop(self, length: int) -> None:
        self._settle()
        kept = -(-length // self.pool.block_size)
        for table in self._tables:
            while len(table) > kept:
                self.pool.release(table.pop())
        self.length = length

    def reset(self) -> None:
        self._given = None
        self._release(self._tables)
        self._tables, self.length = [], 0

    def batch_select_indices(self, indices: Tensor) -> None:
        self._settle()
        before = self._tables
        self._tables = [[self.pool.share(block) for block in before[row]] for row in indices.tolist()]
        self._release(before)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._settle()
        self.batch_select_indices(torch.arange(len(self._tables)).repeat_interleave(repeats))

    def flatten(self) -> tuple[dict[str, Any], dict[str, Any]]:
        keys, values = self.keys, self.values
        tensors = {} if keys is None or values is None else {"keys": keys, "values": values}
        pool = {"block_size": self.pool.block_size, "num_blocks": self.pool.num_blocks}
        return tensors, {"pool": pool, "rows": self._rows}

    @classmethod
    def unflatten(cls, tensors: Mapping[str, Any], fixed: Mapping[str, Any]) -> Self:
        layer = cls(BlockPool(**fixed["pool"]), fixed["rows"])
        if tensors:
            layer._given = (tensors["keys"], tensors["values"])
            layer.length = layer._given[0].shape[2] if isinstance(layer._given[0], Tensor) else 0
        return layer

    def __del__(self) -> None:
        self._release(getattr(self, "_tables", []))

    def _settle(self) -> None:
        """Take in what `unflatten` was given: not there, where leaves may be anything."""
        if self._given is not None:
            given, self._given, self.length = self._given, None, 0
            self.update(*given)

    def _check(self, key_states: Tensor, value_states: Tensor) -> None:
        if torch.is_grad_enabled() and (key_states.requires_grad or value_states.requires_grad):
            raise CacheError("A paged cache passes no gradients. Use it under `torch.no_grad()`, or `transept.DynamicCache`.")
        if self._tables and len(self._tables) != key_states.shape[0]:
            raise CacheError(
                f"The cache holds {len(self._tables)} rows, and a batch of {key_states.shape[0]} came. Use a new cache for another "
                "batch, or fit this one with `batch_select_indices` or `batch_repeat_interleave`."
            )
        self.pool.check_alike(key_states, value_states)

    def _needed(self, rows: int, count: int) -> int:
        """Blocks that so many tokens take; raises CacheError where there are fewer."""
        size = self.pool.block_size
        held = len(self._tables[0]) if self._tables else 0
        needed = rows * (-(-(self.length + count) // size) - held)
        if count and self.length % size:  # the last blocks are written on: all who share one but the last owner take a copy
            owners = Counter(table[-1] for table in self._tables)
            needed += sum(n if self.pool.references[block] > n else n - 1 for block, n in owners.items())
        free = self.pool.free
        if free is not None and needed > free:
            raise CacheError(
                f"The paged cache has room for {self.max_cache_len} tokens in each of {rows} rows: {self.length} are in it, and {count} "
                f"come. They take {needed} blocks of {size}, and {free} are free. Make it with more `num_blocks`, or leave that out."
            )
        return needed

    def _extend(self, rows: int, count: int) -> None:
        if not self._tables:
            self._tables = [[] for _ in range(rows)]
        size, apart = self.pool.block_size, len(self.pool.references) // max(rows, 1)
        wanted = -(-(self.length + count) // size)
        for row, table in enumerate(self._tables):
            if count and self.length % size:
                table[-1] = self.pool.own(table[-1], table[-2] + 1 if len(table) > 1 else row * apart)
            while len(table) < wanted:
                table.append(self.pool.take(table[-1] + 1 if table else row * apart))

    def _write(self, key_states: Tensor, value_states: Tensor) -> None:
        size, count = self.pool.block_size, key_states.shape[2]
        places = range(self.length, self.length + count)
        device = key_states.device
        blocks = torch.tensor([[table[place // size] for place in places] for table in self._tables], device=device)
        offsets = torch.tensor([place % size for place in places], device=device)
        for storage, states in ((self.pool.keys, key_states), (self.pool.values, value_states)):
            assert storage is not None
            storage[:, blocks, offsets] = states.detach().transpose(0, 1)

    def _read(self, storage: Tensor | None) -> Tensor | None:
        self._settle()
        storage = self.pool.keys if storage is None else storage
        if storage is None or not self._tables or not self.length:
            return None
        return PagedStates(storage, self.tables, self.length).whole()

    def _release(self, tables: list[list[int]]) -> None:
        for table in tables:
            for block in table:
                self.pool.release(block)


class PagedCache(Cache):
    """A cache in blocks (https://arxiv.org/abs/2309.06180): rows that begin alike hold that once, and it never moves.

    Args:
        num_layers: attention layers.
        block_size: tokens of a block.
        num_blocks: blocks of each layer, for all rows. None: as many as it takes.
        max_cache_len, batch_size: tokens and rows that are expected, to keep each row in one piece.
    """

    def __init__(
        self,
        num_layers: int,
        *,
        block_size: int = 16,
        num_blocks: int | None = None,
        max_cache_len: int = 0,
        batch_size: int | None = None,
    ) -> None:
        for name, number in (("num_layers", num_layers), ("block_size", block_size), ("num_blocks", num_blocks)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise CacheError(f"`{name}` is {number!r}: it is a number from 1 on.")
        expected = (batch_size or 1) * -(-max_cache_len // block_size)
        super().__init__(PagedLayer(BlockPool(block_size, num_blocks, expected), batch_size) for _ in range(num_layers))

    def fork(self) -> PagedCache:
        """A cache that goes on from the same tokens: they are held once, until one of the two writes on their last block.

        For many answers to one prompt: run the prompt once, and each answer on a fork.
        """
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        twin.layers = [layer.fork() for layer in self.layers if isinstance(layer, PagedLayer)]
        return twin


def make_paged(
    config: Any,
    *,
    max_cache_len: int = 0,
    batch_size: int | None = None,
    device: Any = None,
    dtype: Any = None,
    **cache_config: Any,
) -> PagedCache:
    """A `PagedCache`, which takes device and dtype from what comes; `cache_config` may have `block_size` and `num_blocks`."""
    refuse_options("paged", cache_config, ("block_size", "num_blocks"))
    config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    layers = getattr(config, "num_hidden_layers", None)
    if layers is None:
        raise CacheError(f"`{type(config).__name__}` has no `num_hidden_layers`: a paged cache has to know its layers.")
    return PagedCache(layers, max_cache_len=max_cache_len, batch_size=batch_size, **cache_config)
