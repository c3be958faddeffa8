"""Offloaded caches pass what anybody's cache has to pass: on one device, and as if they lived on another."""

import pytest
import torch
from transept_offloaded_cache import OffloadedCache, OffloadedLayer
from transept_testing import CacheConformance

from transept.cache import DynamicCache
from transept.errors import CacheError


class Apart:
    """A way between two places that share memory. What comes is NaN until it is waited for."""

    def __init__(self, compute=None, home=None):
        self.log, self.coming, self.marks = [], [], 0

    def mark(self):
        self.marks += 1
        return self.marks

    def bring(self, pair):
        self.log.append(("bring", pair[0].shape[2]))
        found = tuple(torch.full_like(tensor, float("nan"), requires_grad=False) for tensor in pair)
        self.coming.append((found, tuple(tensor.clone() for tensor in pair)))
        return found, len(self.coming) - 1

    def wait(self, ticket, pair):
        found, sources = self.coming[ticket]
        for given, target, source in zip(pair, found, sources, strict=True):
            assert given is target
            target.copy_(source)

    def take(self, pair, mark):
        assert 0 < mark <= self.marks
        self.log.append(("take", pair[0].shape[2]))
        return tuple(tensor.clone() for tensor in pair)


def apart(cache):
    """The cache, as if what it is given were on another device than where it lives."""
    for layer in cache.layers:
        if isinstance(layer, OffloadedLayer):
            layer._way = Apart
    return cache


class TestOnOneDevice(CacheConformance):
    key = "offloaded"
    supports_offload = True


class TestSlidingOnOneDevice(TestOnOneDevice):
    config = {"sliding_window": 20}  # noqa: RUF012
    rollback = 32


class TestApart(TestOnOneDevice):
    def make_cache(self, length, batch):
        return apart(super().make_cache(length, batch))


class TestApartWithWindows(TestApart):
    config = {"sliding_window": 20, "layer_types": ["sliding_attention", "full_attention"]}  # noqa: RUF012
    rollback = 32


class TestApartButForWindows(TestApartWithWindows):
    options = {"offload_only_non_sliding": True}  # noqa: RUF012


class Config:
    num_hidden_layers = 3


def states(length):
    return torch.randn(1, 2, length, 4), torch.randn(1, 2, length, 4)


@torch.no_grad()
def test_copies_come_one_layer_ahead_and_each_token_goes_home_once():
    cache = apart(OffloadedCache(Config))
    for count in (9, 1, 1):
        for index in range(3):
            cache.update(*states(count), index)
            on_the_way = [layer._brought is not None for layer in cache.layers]
            if count == 1:
                assert on_the_way[(index + 1) % 3], "the next layer is not on its way"
                assert not on_the_way[index]
            waiting = [layer._new is not None for layer in cache.layers]
            assert waiting == [each == index for each in range(3)], "more than the latest tokens wait"
    assert cache.get_seq_length() == 11
    cache.offload()
    for layer in cache.layers:
        log = layer._transport.log
        assert [count for what, count in log if what == "take"] == [9, 1, 1]
        assert [count for what, count in log if what == "bring"][:2] == [9, 10]
        assert layer.home.get_seq_length() == 11


@torch.no_grad()
def test_on_one_device_nothing_is_copied():
    cache, plain = OffloadedCache(Config), DynamicCache(Config)
    for count in (9, 1, 1):
        for index in range(3):
            new = states(count)
            for found, expected in zip(cache.update(*new, index), plain.update(*new, index), strict=True):
                assert torch.equal(found, expected)
    assert all(layer._transport is None and layer._brought is None for layer in cache.layers)
    assert cache.layers[0].home.keys.data_ptr() == cache.layers[0].keys.data_ptr()


@torch.no_grad()
def test_layers_may_come_as_they_are_used():
    cache = OffloadedCache()
    for count in (4, 1):
        for index in range(2):
            cache.update(*states(count), index)
    assert [layer.get_seq_length() for layer in cache.layers] == [5, 5]


@pytest.mark.parametrize(("device", "words"), [("meta", "holds no data"), ("gpu", "no such device"), (3.5, "no such device")])
def test_a_device_that_cannot_hold_it_is_refused(device, words):
    with pytest.raises(CacheError, match=f"`offload_device` is .*{words}"):
        OffloadedCache(Config, offload_device=device)
