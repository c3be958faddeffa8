"""The paged cache and the kernel that reads it do what their records promise."""

import random
from typing import ClassVar

import pytest
import torch
from transept_paged import PagedCache, PagedStates, kernel
from transept_testing import AttentionKernelConformance, CacheConformance

from transept.attention import Attention


class TestPagedKernelOverTensors(AttentionKernelConformance):
    key = "paged"


class TestPagedKernelOverBlocks(AttentionKernelConformance):
    """Keys and values of every request stand in a cache; in this class rows are in one piece."""

    key = "paged"
    shuffled = False

    def attend(self, query, key, value, **request):
        if key.shape[2] > 1:
            cache = PagedCache(1, block_size=2)
            first = max(1, key.shape[2] // 2)
            cache.update(key[:, :, :first], value[:, :, :first], 0)
            if self.shuffled:
                self.shuffle(cache.layers[0])
            key, value = cache.update(key[:, :, first:], value[:, :, first:], 0)
            assert isinstance(key, PagedStates)
        return Attention("paged")(query, key, value, **request)

    @staticmethod
    def shuffle(layer):
        """Let another cache take the blocks behind each row, and the first row's blocks stand elsewhere."""
        layer.taken = layer.fork()
        layer.taken.update(
            *(
                torch.zeros(len(layer.tables), *layer.keys.shape[1:2], 3, layer.keys.shape[3], dtype=layer.keys.dtype)
                for _ in "kv"
            )
        )
        rows = list(range(len(layer.tables)))
        random.Random(0).shuffle(rows)
        back = [rows.index(row) for row in range(len(rows))]
        layer.batch_select_indices(torch.tensor(rows))
        layer.batch_select_indices(torch.tensor(back))


class TestPagedKernelOverScatteredBlocks(TestPagedKernelOverBlocks):
    shuffled = True


class TestPagedKernelBlockByBlock(TestPagedKernelOverBlocks):
    """The reference, for every request."""

    shuffled = True

    @pytest.fixture(autouse=True)
    def _by_blocks(self, monkeypatch):
        def refused(*args, **options):
            return kernel.attend_by_blocks(args[0], kernel._reader(*args[1:]), options["mask"], scale=options["scale"]), None

        monkeypatch.setattr(kernel, "sdpa_attention", refused)
        monkeypatch.setattr(kernel, "_KEYS", 3)
        monkeypatch.setattr(kernel, "_QUERIES", 2)


class TestPagedCache(CacheConformance):
    key = "paged"
    supports_gradients = False


class TestPagedCacheOfSmallBlocks(CacheConformance):
    key = "paged"
    options: ClassVar = {"block_size": 3}
    supports_gradients = False


class TestPagedCacheOfAFixedSize(CacheConformance):
    key = "paged"
    supports_gradients = False
    fixed_size = True

    def make_cache(self, length, batch):
        blocks = (batch if batch > 1 else 3) * -(-length // 8)
        return PagedCache(2, block_size=8, num_blocks=blocks, batch_size=batch)
