"""Rows that begin alike hold that once; who writes on a shared block copies it; and nothing is written where blocks run out."""

import copy
import gc

import pytest
import torch
from transept_paged import PagedCache, PagedStates, make_paged

from transept import LlamaConfig, LlamaForCausalLM
from transept.errors import CacheError, UnknownArgumentError


def states(count, batch=1, heads=2):
    return torch.randn(batch, heads, count, 4), torch.randn(batch, heads, count, 4)


def used(cache):
    pool = cache.layers[0].pool
    return sum(count > 0 for count in pool.references)


def test_repeated_rows_share_all_full_blocks():
    cache = PagedCache(1, block_size=4)
    cache.update(*states(10), 0)
    assert used(cache) == 3
    cache.batch_repeat_interleave(5)
    assert used(cache) == 3
    keys, _ = cache.update(*states(1, batch=5), 0)
    assert used(cache) == 2 + 5  # the last block was not full: each writes on its own
    assert len({table[:2] for table in cache.layers[0].tables}) == 1
    assert torch.equal(keys[0, :, :10], keys[4, :, :10])
    assert not torch.equal(keys[0, :, 10:], keys[4, :, 10:])


def test_a_full_block_is_never_copied():
    cache = PagedCache(1, block_size=5)
    cache.update(*states(10), 0)
    cache.batch_repeat_interleave(3)
    cache.update(*states(1, batch=3), 0)
    assert used(cache) == 2 + 3


def test_reordering_moves_no_token():
    cache = PagedCache(1, block_size=2)
    cache.update(*states(5, batch=3), 0)
    before, data = cache.layers[0].tables, cache.layers[0].pool.keys.clone()
    cache.reorder_cache(torch.tensor([2, 0, 0]))
    assert cache.layers[0].tables == (before[2], before[0], before[0])
    assert torch.equal(cache.layers[0].pool.keys, data)
    assert used(cache) == 6


def test_what_no_row_uses_is_free_again():
    cache = PagedCache(1, block_size=2, num_blocks=6)
    cache.update(*states(6, batch=2), 0)
    with pytest.raises(CacheError, match="room for 6 tokens"):
        cache.update(*states(1, batch=2), 0)
    cache.crop(3)
    assert used(cache) == 4
    cache.update(*states(2, batch=2), 0)
    cache.batch_select_indices(torch.tensor([1]))
    assert used(cache) == 3
    cache.reset()
    assert used(cache) == 0


def test_a_fork_goes_its_own_way_and_gives_back_what_it_took():
    cache = PagedCache(2, block_size=4)
    for layer in range(2):
        cache.update(*states(6), layer)
    expected = [layer.keys.clone() for layer in cache.layers]
    forks = [cache.fork() for _ in range(3)]
    assert used(cache) == 2
    for fork in forks:
        for layer in range(2):
            fork.update(*states(3), layer)
        assert fork.get_seq_length() == 9
    assert used(cache) == 2 + 3 * 2
    cache.update(*states(1), 0)
    assert torch.equal(cache.layers[0].keys[:, :, :6], expected[0])
    assert all(torch.equal(fork.layers[1].keys[:, :, :6], expected[1]) for fork in forks)
    assert len({fork.layers[0].keys[0, 0, 7, 0].item() for fork in forks}) == 3
    del fork, forks
    gc.collect()
    assert used(cache) == 2


def test_running_out_of_blocks_writes_nothing():
    cache = PagedCache(1, block_size=4, num_blocks=3)
    cache.update(*states(6), 0)
    fork = cache.fork()
    before, tables = cache.layers[0].pool.keys.clone(), cache.layers[0].tables
    with pytest.raises(CacheError, match="take 2 blocks of 4, and 1 are free"):
        fork.update(*states(3), 0)  # a copy of the last block, and a new one
    # bit by bit: what nobody wrote to yet may look like NaN
    assert torch.equal(cache.layers[0].pool.keys.view(torch.int32), before.view(torch.int32))
    assert fork.layers[0].tables == cache.layers[0].tables == tables
    assert fork.get_seq_length() == 6
    fork.update(*states(2), 0)
    assert fork.get_seq_length() == 8


def test_rows_in_one_piece_are_read_without_a_copy():
    cache = PagedCache(1, block_size=4, max_cache_len=32, batch_size=3)
    for count in (9, 1, 1, 7):
        keys, values = cache.update(*states(count, batch=3), 0)
        assert keys.is_whole
        assert keys.whole().untyped_storage().data_ptr() == cache.layers[0].pool.keys.untyped_storage().data_ptr()
        assert values.is_whole
    cache.reorder_cache(torch.tensor([0, 0, 2]))
    keys, _ = cache.update(*states(1, batch=3), 0)
    assert not keys.is_whole


def test_it_is_a_tensor_to_whoever_wants_one():
    cache = PagedCache(1, block_size=4)
    new = states(6, batch=2)
    keys, values = cache.update(*new, 0)
    assert isinstance(keys, PagedStates)
    assert keys.shape == (2, 2, 6, 4)
    assert torch.equal(keys @ values.transpose(-1, -2), new[0] @ new[1].transpose(-1, -2))
    assert type(keys + 1) is torch.Tensor
    assert "PagedStates" in repr(keys)


def test_a_copy_has_blocks_of_its_own():
    cache = PagedCache(1, block_size=4, num_blocks=8)
    cache.update(*states(6), 0)
    twin = copy.deepcopy(cache)
    twin.update(*states(1), 0)
    assert twin.layers[0].pool is not cache.layers[0].pool
    assert (twin.get_seq_length(), cache.get_seq_length()) == (7, 6)


def test_gradients_are_refused_in_words():
    keys, values = states(3)
    with pytest.raises(CacheError, match="no gradients"):
        PagedCache(1).update(keys.requires_grad_(), values, 0)


@pytest.mark.parametrize("wrong", [{"block_size": 0}, {"num_blocks": -1}, {"block_size": 2.5}], ids=str)
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(CacheError, match=next(iter(wrong))):
        PagedCache(1, **wrong)
    with pytest.raises(UnknownArgumentError, match="block_sise"):
        make_paged(LlamaConfig(num_hidden_layers=1), block_sise=3)


@torch.no_grad()
@pytest.mark.parametrize("kernel", ["auto", "paged", "eager", "flex_attention"])
def test_text_is_the_dynamic_caches(kernel):
    if kernel == "flex_attention":
        pytest.importorskip("transept_flex")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    model = LlamaForCausalLM(config).eval()
    model.set_attention(kernel)
    ids = torch.tensor([[0, 0, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14]])
    batch = {"input_ids": ids, "attention_mask": (ids > 0).long(), "max_new_tokens": 20, "pad_token_id": 0}
    for settings in ({}, {"num_return_sequences": 3, "do_sample": True}):
        torch.manual_seed(1)
        expected = model.generate(**batch, **settings)
        torch.manual_seed(1)
        found = model.generate(**batch, **settings, cache_implementation="paged", cache_config={"block_size": 4})
        assert torch.equal(found, expected)
    with pytest.raises(CacheError, match="num_blocks"):
        model.generate(**batch, cache_implementation="paged", cache_config={"block_size": 4, "num_blocks": 6})
