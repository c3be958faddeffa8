"""Attention in steps over a cache gives what attention over everything at once gives: every cache, kernel, window and padding."""

import pytest
import torch

from transept.attention import Attention, MaskSpec
from transept.cache import DynamicCache, mask_sizes

STEPS = [[7, 1, 1, 1], [1] * 10, [4, 3, 3], [9, 1]]


@torch.no_grad()
@pytest.mark.parametrize("name", ["eager", "sdpa"])
@pytest.mark.parametrize("sizes", STEPS, ids=str)
@pytest.mark.parametrize("padded", [False, True])
def test_every_cache(new_cache, states, name, sizes, padded):
    cache, attention = new_cache(16), Attention(name)
    keep = torch.arange(10).expand(2, -1) >= torch.tensor([[3], [0]]) if padded else None
    keys, values = states(10)
    query = torch.randn(2, 4, 10, 4, generator=torch.Generator().manual_seed(1))
    expected, _ = attention(query, keys, values, mask=MaskSpec.causal(10, keep=keep))
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        length, offset = mask_sizes(cache, size)
        seen = None if keep is None else torch.nn.functional.pad(keep[:, : start + size], (0, length - start - size))
        mask = MaskSpec("causal", size, length, offset, keep=seen)
        given = cache.update(keys[:, :, part], values[:, :, part], 0)
        found, _ = attention(query[:, :, part], *given, mask=mask)
        torch.testing.assert_close(found, expected[:, :, part])
        start += size


@torch.no_grad()
@pytest.mark.parametrize("name", ["eager", "sdpa"])
@pytest.mark.parametrize("sizes", STEPS, ids=str)
@pytest.mark.parametrize("window", [1, 2, 5, 9, 10, 11])
@pytest.mark.parametrize("padded", [False, True])
def test_windows(config, states, name, sizes, window, padded):
    cache, attention = DynamicCache(config(sliding_window=window)), Attention(name)
    keep = torch.arange(10).expand(2, -1) >= torch.tensor([[3], [0]]) if padded else None
    keys, values = states(10)
    query = torch.randn(2, 4, 10, 4, generator=torch.Generator().manual_seed(1))
    expected, _ = attention(query, keys, values, mask=MaskSpec.causal(10, keep=keep, sliding_window=window))
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        length, offset = mask_sizes(cache, size)
        seen = None if keep is None else keep[:, start + size - length : start + size]
        mask = MaskSpec("causal", size, length, offset, keep=seen, sliding_window=window)
        given = cache.update(keys[:, :, part], values[:, :, part], 0)
        found, _ = attention(query[:, :, part], *given, mask=mask)
        torch.testing.assert_close(found, expected[:, :, part])
        start += size


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 3])
def test_tokens_that_were_tried_and_taken_back_leave_no_trace(config, states, window):
    cache, attention = DynamicCache(config(sliding_window=window)), Attention()
    keys, values = states(12)
    query = torch.randn(2, 4, 12, 4)
    expected, _ = attention(query, keys, values, mask=MaskSpec.causal(12, sliding_window=window))
    for start in range(0, 12, 2):
        for tried in (4, 0):  # four tokens of which none is accepted, then two that are
            part = slice(start, start + 2)
            new = states(tried) if tried else (keys[:, :, part], values[:, :, part])
            asks = torch.randn(2, 4, tried, 4) if tried else query[:, :, part]
            length, offset = mask_sizes(cache, new[0].shape[2])
            mask = MaskSpec("causal", new[0].shape[2], length, offset, sliding_window=window)
            found, _ = attention(asks, *cache.update(*new, 0), mask=mask)
            cache.crop(-tried)
        torch.testing.assert_close(found, expected[:, :, start : start + 2])
