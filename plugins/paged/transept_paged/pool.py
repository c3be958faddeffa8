"""`BlockPool`: the storage of a layer's keys and values, in blocks that are counted by how many rows use them."""

from __future__ import annotations

import torch
from torch import Tensor

from transept.errors import CacheError

__all__ = ["BlockPool"]


class BlockPool:
    """Blocks of keys and values of `block_size` tokens each, for one attention layer.

    Args:
        block_size: tokens of a block.
        num_blocks: how many there are. None: more are made when they run out.
        expected: with no `num_blocks`, how many to begin with.
    """

    def __init__(self, block_size: int, num_blocks: int | None = None, expected: int = 0) -> None:
        self.block_size, self.num_blocks, self._expected = block_size, num_blocks, expected
        self.keys: Tensor | None = None  # (kv_heads, blocks, block_size, head_dim)
        self.values: Tensor | None = None
        self.references: list[int] = []
        """How many rows use each block."""
        self._free: set[int] = set()

    @property
    def free(self) -> int | None:
        """Blocks that can still be taken; None: any number."""
        if self.num_blocks is None:
            return None
        return len(self._free) if self.references else self.num_blocks

    def prepare(self, keys: Tensor, values: Tensor, needed: int) -> None:
        """Have storage for states like these with at least `needed` free blocks, which are there or may be made."""
        if self.keys is None or self.values is None:
            self._grow(keys, values, self.num_blocks or max(needed, self._expected))
        elif len(self._free) < needed:
            self._grow(keys, values, len(self.references) + max(needed, len(self.references) // 2))

    def check_alike(self, keys: Tensor, values: Tensor) -> None:
        """Raise CacheError where states of this kind cannot be held beside those that are."""
        for held, came in ((self.keys, keys), (self.values, values)):
            if held is not None:
                ours, theirs = (
                    (each.shape[dim], each.shape[-1], str(each.dtype), str(each.device)) for each, dim in ((held, 0), (came, 1))
                )
                if ours != theirs:
                    raise CacheError(
                        f"The paged cache holds (heads, head_dim, dtype, device) {ours}, and {theirs} came. Use a new cache for another model."
                    )

    def take(self, wish: int) -> int:
        """A free block: the one wished for, so that rows stand in one piece, or any."""
        block = wish if wish in self._free else min(self._free)
        self._free.remove(block)
        self.references[block] = 1
        return block

    def share(self, block: int) -> int:
        """Count one more row that uses a block."""
        self.references[block] += 1
        return block

    def release(self, block: int) -> None:
        """Count one row less; a block without rows is free."""
        self.references[block] -= 1
        if not self.references[block]:
            self._free.add(block)

    def own(self, block: int, wish: int) -> int:
        """A block with the same content that one row alone uses: the block itself, or a copy of one that is shared."""
        if self.references[block] == 1:
            return block
        twin = self.take(wish)
        self.release(block)
        for storage in (self.keys, self.values):
            assert storage is not None
            storage[:, twin] = storage[:, block]
        return twin

    def _grow(self, keys: Tensor, values: Tensor, blocks: int) -> None:
        before = len(self.references)
        self.keys, self.values = self._storage(self.keys, keys, blocks), self._storage(self.values, values, blocks)
        self.references += [0] * (blocks - before)
        self._free |= set(range(before, blocks))

    def _storage(self, old: Tensor | None, like: Tensor, blocks: int) -> Tensor:
        with torch.inference_mode(False):  # what is made in an inference mode cannot be written on after it
            new = torch.empty(like.shape[1], blocks, self.block_size, like.shape[3], dtype=like.dtype, device=like.device)
            if old is not None:
                new[:, : old.shape[1]] = old
        return new
