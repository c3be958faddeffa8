"""Whatever the sizes of the pieces, and whatever is cropped, reordered or copied between them, a cache gives what came."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from transept.cache import Cache, CacheLayer, DynamicCache, DynamicLayer, EncoderDecoderCache, StaticCache
from transept.errors import CacheError


class Model:
    """What a cache stands for: all keys so far, in a tensor."""

    def __init__(self, batch):
        self.kept = torch.zeros(batch, 2, 0, 4)

    def update(self, keys):
        self.kept = torch.cat((self.kept, keys), 2)
        return self.kept


def held(cache, given, layer=0):
    """What an update gave, without the empty part of a static cache's storage."""
    return given[:, :, : cache.get_seq_length(layer)]


STEP = st.one_of(
    st.tuples(st.just("update"), st.integers(1, 70)),
    st.tuples(st.just("update"), st.just(1)),
    st.tuples(st.just("crop"), st.integers(-5, 90)),
    st.tuples(st.sampled_from(["reorder", "repeat", "select", "copy", "pickle", "flatten", "reset"]), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(STEP, min_size=2, max_size=12),
    mode=st.lists(st.sampled_from(["grad", "no_grad", "inference"]), min_size=12, max_size=12),
    kind=st.sampled_from(["dynamic", "static", "whole"]),
)
def test_any_course_of_events(steps, mode, kind):
    class Config:
        num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads = 1, 16, 4, 2

    cache = DynamicCache() if kind == "dynamic" else StaticCache(Config, 900, whole=kind == "whole")
    model, generator = Model(2), torch.Generator().manual_seed(0)
    guards = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference": torch.inference_mode}
    for (what, number), how in zip(steps, mode, strict=False):
        with guards[how]():
            batch, length = model.kept.shape[0], model.kept.shape[2]
            if what == "update":
                keys = torch.randn(batch, number, 2, 4, generator=generator).transpose(1, 2)
                sizes = cache.get_mask_sizes(number, 0)
                given_keys, given_values = cache.update(keys, keys + 1, 0)
                assert given_keys.shape[2] == sizes[0]
                assert sizes[1] == length
                expected = model.update(keys)
                assert torch.equal(held(cache, given_keys), expected)
                assert torch.equal(held(cache, given_values), expected + 1)
            elif what == "crop" and -length <= number:
                cache.crop(number)
                keep = number if number > 0 else length + number
                model.kept = model.kept[:, :, :keep]
            elif what == "reset":
                cache.reset()
                model.kept = torch.zeros(2, 2, 0, 4)
            elif what == "copy":
                cache = copy.deepcopy(cache)
            elif what == "pickle":
                cache = pickle.loads(pickle.dumps(cache))
            elif what == "flatten":
                cache = pytree.tree_map(torch.clone, cache)
            elif length and what in ("reorder", "select"):
                rows = torch.randint(0, batch, (batch if what == "reorder" else 1,), generator=generator)
                getattr(cache, "reorder_cache" if what == "reorder" else "batch_select_indices")(rows)
                model.kept = model.kept[rows]
            elif length and what == "repeat" and batch < 5:
                cache.batch_repeat_interleave(2)
                model.kept = model.kept.repeat_interleave(2, 0)
            assert cache.get_seq_length() == model.kept.shape[2]
            if model.kept.shape[2]:
                assert torch.equal(cache[0][0], model.kept)


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 70), max_size=4),
    crops=st.integers(0, 3),
    kind=st.sampled_from(["dynamic", "static", "sliding"]),
    guard=st.sampled_from([torch.enable_grad, torch.no_grad, torch.inference_mode]),
)
def test_rows_that_begin_alike_may_leave_that_in_place(sizes, crops, kind, guard):
    class Config:
        num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads = 1, 16, 4, 2
        sliding_window, layer_types = (20, ["sliding_attention"]) if kind == "sliding" else (None, None)

    generator = torch.Generator().manual_seed(0)
    with guard():
        cache = StaticCache(Config, 900) if kind == "static" else DynamicCache(Config)
        cache.update(*[torch.randn(1, 2, 30, 4, generator=generator).expand(3, -1, -1, -1).clone()] * 2, 0)
        for size in sizes:
            keys = torch.randn(3, 2, size, 4, generator=generator)
            cache.update(keys, keys + 1, 0)
            cache.crop(-min(crops, size))
            rows = torch.randint(0, 3, (3,), generator=generator)
            whole = copy.deepcopy(cache)
            whole.batch_select_indices(rows)
            cache.reorder_cache(rows, 30)
            new = torch.randn(3, 2, 1, 4, generator=generator)
            for got, expected in zip(cache.update(new, new, 0), whole.update(new, new, 0), strict=True):
                assert torch.equal(got, expected)


def test_the_first_tokens_are_kept_as_they_come(states):
    keys, values = states(5)
    cache = DynamicCache()
    given = cache.update(keys, values, 0)
    assert given[0] is keys
    assert given[1] is values
    assert cache.layers[0].keys is keys


@torch.no_grad()
def test_later_tokens_are_written_and_not_copied(states):
    cache = DynamicCache()
    cache.update(*states(100), 0)
    seen = set()
    for _ in range(300):
        keys, _ = cache.update(*states(1), 0)
        seen.add(keys.untyped_storage().data_ptr())
    assert len(seen) <= 8
    assert keys.shape[2] == 400


@torch.no_grad()
def test_what_came_is_never_written_on(states):
    keys, values = states(8)
    before = keys.clone()
    cache = DynamicCache()
    cache.update(keys, values, 0)
    cache.crop(4)
    cache.update(*states(3), 0)
    assert torch.equal(keys, before)


def test_gradients_flow_through_every_update(states):
    first, second = states(3), states(2)
    for part in (*first, *second):
        part.requires_grad_()
    cache = DynamicCache()
    cache.update(*first, 0)
    keys, values = cache.update(*second, 0)
    product = (keys * values).sum()
    with torch.no_grad():  # must not write on what autograd saved
        cache.update(*states(1), 0)
        cache.update(*states(1), 0)
    product.backward()
    torch.testing.assert_close(first[0].grad, first[1].detach())
    torch.testing.assert_close(second[0].grad, second[1].detach())


@torch.no_grad()
def test_a_prefix_is_shared_by_copies_that_go_their_own_ways(states, new_cache):
    prefix = new_cache(32)
    for layer in (0, 1):
        prefix.update(*states(6), layer)
        prefix.update(*states(1), layer)
    before = [part.clone() for part in prefix[0]]
    for _ in range(2):
        mine = copy.deepcopy(prefix)
        keys, values = states(3)
        given, _ = mine.update(keys, values, 0)
        assert torch.equal(held(mine, given), torch.cat((before[0], keys), 2))
    assert all(torch.equal(part, old) for part, old in zip(prefix[0], before, strict=True))
    assert prefix.get_seq_length() == 7


def test_a_copy_keeps_its_gradients(states):
    keys, values = states(3, requires_grad=True)
    cache = DynamicCache()
    cache.update(keys * 2, values, 0)
    twin = copy.deepcopy(cache)
    torch.autograd.grad(twin[0][0].sum(), keys)


def test_crop_says_what_it_cannot(states, new_cache):
    cache = new_cache(16)
    for layer in (0, 1):
        cache.update(*states(6), layer)
    cache.crop(0)
    cache.crop(6)
    cache.crop(99)
    assert cache.get_seq_length() == 6
    cache.crop(-2)
    assert [cache.get_seq_length(layer) for layer in (0, 1)] == [4, 4]
    with pytest.raises(CacheError, match=r"seen only 4 tokens.*reset"):
        cache.crop(-5)
    cache.crop(-4)
    assert cache.get_seq_length() == 0


def test_another_batch_is_refused_before_anything_is_written(states):
    cache = DynamicCache()
    cache.update(*states(3), 0)
    for wrong in (states(1, batch=1), states(1, batch=4)):
        with torch.no_grad(), pytest.raises(CacheError, match="batch_select_indices"):
            cache.update(*wrong, 0)
    assert cache.get_seq_length() == 3


@torch.no_grad()
def test_another_dtype_is_joined_and_not_rounded(states):
    cache = DynamicCache()
    cache.update(*(part.bfloat16() for part in states(3)), 0)
    cache.update(*(part.bfloat16() for part in states(1)), 0)
    keys, values = states(1)
    given, _ = cache.update(keys, values, 0)
    assert given.dtype == torch.float32
    assert torch.equal(given[:, :, -1:], keys)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 15, 16, 17])
def test_static_sizes_are_powers_of_two_with_bounds(states, config, size):
    cache = StaticCache(config(), size)
    room = {1: 1, 15: 16, 16: 16, 17: 32}[size]
    assert cache.max_cache_len == room
    storage = cache.update(*states(room), 0)[0].data_ptr()
    for ask in (lambda: cache.update(*states(1), 0), lambda: cache.get_mask_sizes(1, 0)):
        with pytest.raises(CacheError, match=f"room for {room} tokens and {room + 1} are needed.*`max_cache_len={room + 1}`"):
            ask()
    cache.reset()
    assert cache.update(*states(1), 0)[0].data_ptr() == storage
    assert cache.get_seq_length() == 1
    with pytest.raises(CacheError, match="`max_cache_len` is 0"):
        StaticCache(config(), 0)


@torch.no_grad()
def test_a_static_cache_stays_where_it_is(states, config):
    cache = StaticCache(config(), 16, batch_size=2, dtype=torch.float32)
    at = cache.layers[0]._keys.data_ptr()
    for length in (3, 1, 1):
        keys, _ = cache.update(*states(length), 0)
        assert keys.data_ptr() == at
    whole = StaticCache(config(), 16, whole=True)
    for length in (3, 1, 1):
        assert whole.get_mask_sizes(length, 0)[0] == 16
        keys, _ = whole.update(*states(length), 0)
        assert keys.shape[2] == 16
    assert (keys[:, :, 5:] == 0).all()


def test_more_layers_than_were_made(states, config):
    with pytest.raises(CacheError, match="made for 2 layers"):
        StaticCache(config(), 8).update(*states(1), 2)
    cache = DynamicCache(config())
    cache.update(*states(1), 2)
    assert len(cache) == 3


def test_an_encoder_decoder_cache_is_two(states):
    cross = DynamicCache()
    cross.update(*states(9), 0)
    cache = EncoderDecoderCache(DynamicCache(), cross)
    assert cache.is_updated == {0: True}
    assert cache.get_seq_length() == 0
    cache.update(*states(4), 0)
    assert cache.get_mask_sizes(2, 0) == (6, 4)
    cache.batch_repeat_interleave(3)
    before = cache[0]
    cache.reorder_cache(torch.tensor([5, 4, 3, 2, 1, 0]))
    assert all(torch.equal(part, old.flip(0)) for part, old in zip(cache[0], before, strict=True))
    before = [part.clone() for part in cache[0]]
    cache.reorder_cache(torch.tensor([2, 1, 0, 3, 4, 5]), 2)  # rows of a prompt, whose first two tokens are alike
    assert torch.equal(cache[0][0][0, :, 2:], before[0][2, :, 2:])
    assert torch.equal(cache[0][2], before[2][[2, 1, 0, 3, 4, 5]])
    cache.crop(-1)
    assert [part.shape for part in cache[0]] == [(6, 2, 3, 4)] * 2 + [(6, 2, 9, 4)] * 2
    again = pytree.tree_map(lambda leaf: leaf + 1, cache)
    assert torch.equal(again[0][3], cache[0][3] + 1)
    assert (again.get_seq_length(), len(again)) == (3, 1)
    for twin in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert twin.cross_attention_cache.get_seq_length() == 9
    cache.reset()
    assert cache.is_updated == {0: False}


def test_tuples_of_older_libraries(states):
    legacy = (states(3), states(3))
    cache = DynamicCache.from_legacy_cache(legacy)
    assert len(cache) == 2
    for layer, (keys, values) in enumerate(cache):
        assert torch.equal(keys, legacy[layer][0])
        assert torch.equal(values, legacy[layer][1])
    assert torch.equal(cache.to_legacy_cache()[1][0], legacy[1][0])
    assert bool(DynamicCache())


def test_a_layer_of_another_kind_needs_two_methods(states):
    class Halves(CacheLayer):
        """Keeps half precision: what a quantized cache's layer looks like."""

        def __init__(self):
            self.inner = DynamicLayer()
            self.scale = torch.ones(1)

        def update(self, key_states, value_states):
            keys, values = self.inner.update(key_states.half(), value_states.half())
            return keys.float(), values.float()

        def get_seq_length(self):
            return self.inner.get_seq_length()

    cache = Cache([Halves()])
    cache.update(*states(3), 0)
    keys, _ = cache.update(*states(1), 0)
    assert keys.shape[2] == 4
    assert keys.dtype == torch.float32
    assert cache.get_mask_sizes(2, 0) == (6, 4)
    for what in (lambda: cache.crop(2), lambda: cache.reorder_cache(torch.tensor([0])), cache.reset):
        with pytest.raises(CacheError, match="`Halves` has no"):
            what()
    assert pytree.tree_map(lambda leaf: leaf * 3, cache).layers[0].scale == 3
