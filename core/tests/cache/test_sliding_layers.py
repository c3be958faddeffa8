"""A sliding layer gives the window before the new tokens, whatever their number, and takes tries back as long as it can."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transept.cache import DynamicCache, SlidingLayer, StaticCache, mask_sizes
from transept.cache.layers import ROLLBACK
from transept.errors import CacheError


@settings(max_examples=60, deadline=None)
@given(
    window=st.sampled_from([1, 2, 4, 40]),
    pieces=st.lists(st.tuples(st.sampled_from([1, 1, 1, 2, 3, 50, 200]), st.integers(0, 4)), min_size=1, max_size=30),
    modes=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_the_window_before_the_new_tokens(window, pieces, modes):
    layer, everything = SlidingLayer(window), torch.zeros(1, 1, 0, 1)
    for (count, tried), gradients in zip(pieces, modes, strict=False):
        with torch.set_grad_enabled(gradients):
            past = everything.shape[2]
            keys = torch.arange(past, past + count).float().view(1, 1, -1, 1)
            everything = torch.cat((everything, keys), 2)
            length, offset = layer.get_mask_sizes(count)
            given_keys, given_values = layer.update(keys, -keys)
            assert offset == min(past, window - 1)
            assert torch.equal(given_keys, everything[:, :, -length:])
            assert torch.equal(given_values, -given_keys)
            tried = min(tried, count)
            if tried:  # as many as came can always be taken back
                layer.check_crop(past + count - tried)
                layer.crop(past + count - tried)
                everything = everything[:, :, : past + count - tried]
            assert layer.get_seq_length() == everything.shape[2]


@torch.no_grad()
def test_it_holds_little(states):
    layer = SlidingLayer(8)
    for _ in range(2000):
        layer.update(*states(1))
    assert layer.get_seq_length() == 2000
    assert layer._keys.shape[2] < 8 + 3 * ROLLBACK + 64


@torch.no_grad()
def test_the_last_tokens_can_be_cropped_whatever_came(states):
    cache = DynamicCache(type("C", (), {"num_hidden_layers": 1, "sliding_window": 8}))
    cache.update(*states(100), 0)
    for _ in range(300):
        cache.update(*states(1), 0)
        cache.layers[0].check_crop(cache.get_seq_length() - ROLLBACK)
    cache.crop(-ROLLBACK)
    keys, _ = cache.update(*states(1), 0)
    assert keys.shape[2] == 8
    assert cache.get_seq_length() == 400 - ROLLBACK + 1


@torch.no_grad()
def test_a_crop_beyond_what_is_held_is_refused_and_changes_nothing(states, config):
    cache = DynamicCache(config(layer_types=["full_attention", "sliding_attention"], sliding_window=8))
    for _ in range(300):
        for layer in (0, 1):
            cache.update(*states(1), layer)
    with pytest.raises(CacheError, match=r"250 tokens cannot be cropped.*window of 8.*At most \d+ can"):
        cache.crop(50)
    assert [cache.get_seq_length(layer) for layer in (0, 1)] == [300, 300]


def test_which_layers_slide(config):
    def kinds(cache):
        return [(type(layer).__name__, getattr(layer, "window", None)) for layer in cache.layers]

    mixed = config(layer_types=["full_attention", "sliding_attention"], sliding_window=8)
    assert kinds(DynamicCache(mixed)) == [("DynamicLayer", None), ("SlidingLayer", 8)]
    assert kinds(DynamicCache(config(sliding_window=8))) == [("SlidingLayer", 8)] * 2
    assert kinds(DynamicCache(config(sliding_window=None))) == [("DynamicLayer", None)] * 2
    assert kinds(DynamicCache(config(layer_types=["full_attention"] * 2, sliding_window=8))) == [("DynamicLayer", None)] * 2
    assert kinds(DynamicCache(type("Outer", (), {"get_text_config": lambda self, decoder: mixed})())) == kinds(
        DynamicCache(mixed)
    )
    assert kinds(StaticCache(mixed, 64)) == [("StaticLayer", None), ("SlidingLayer", 8)]
    assert kinds(StaticCache(mixed, 4)) == [("StaticLayer", None)] * 2
    assert kinds(StaticCache(mixed, 64, whole=True)) == [("StaticLayer", None)] * 2
    with pytest.raises(CacheError, match="`linear_attention`"):
        DynamicCache(config(layer_types=["linear_attention", "full_attention"]))
    with pytest.raises(CacheError, match="num_hidden_layers"):
        StaticCache(object(), 8)


def test_mask_sizes_of_anybodys_cache(states):
    transformers = pytest.importorskip("transformers")

    class Plain:
        def get_seq_length(self):
            return 5

    assert mask_sizes(None, 3) == (3, 0)
    assert mask_sizes(Plain(), 3) == (8, 5)
    config = transformers.LlamaConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=4)
    sliding = transformers.MistralConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=4, sliding_window=4)
    for made in (
        transformers.DynamicCache(),
        transformers.DynamicCache(config=sliding),
        transformers.StaticCache(config=config, max_cache_len=16),
    ):
        past = 0
        for count in (3, 1, 1, 1, 2):
            keys, values = states(count)
            length, offset = mask_sizes(made, count)
            given_keys, _ = made.update(keys, values, 0)
            assert given_keys.shape[2] == length
            assert torch.equal(given_keys[:, :, offset : offset + count], keys)
            past += count
