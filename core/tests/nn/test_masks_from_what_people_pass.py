"""`attention_mask`, the cache and positions become one mask; what doesn't fit is refused."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transept.attention import Attention, MaskSpec
from transept.cache import DynamicCache, StaticCache
from transept.errors import InputError
from transept.nn import decoder_mask, position_ids_from


def hidden(batch=2, length=4):
    return torch.zeros(batch, length, 8)


def cache_of(length, batch=2):
    cache = DynamicCache()
    cache.update(torch.zeros(batch, 1, length, 4), torch.zeros(batch, 1, length, 4), 0)
    return cache


def allowed(mask, batch=2):
    found = mask.materialize(torch.device("cpu"))
    shape = (batch, 1, mask.query_length, mask.key_length)
    return torch.ones(shape, dtype=torch.bool) if found is None else found.expand(shape)


def test_without_a_mask_queries_see_what_came_before():
    assert torch.equal(allowed(decoder_mask(hidden(), None))[0, 0], torch.ones(4, 4).tril().bool())


def test_the_cache_comes_before_the_queries():
    mask = decoder_mask(hidden(length=2), None, cache_of(3))
    assert (mask.query_length, mask.key_length, mask.query_offset) == (2, 5, 3)
    assert allowed(mask)[0, 0].tolist() == [[True] * 4 + [False], [True] * 5]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int32, torch.float32])
@pytest.mark.parametrize("past", [0, 3])
def test_padding_is_hidden_wherever_it_is(dtype, past):
    keep = torch.tensor([[0, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 1, 0]])
    mask = decoder_mask(hidden(length=7 - past), keep.to(dtype), cache_of(past) if past else None)
    causal = torch.ones(7, 7).tril().bool()[past:]
    expected = causal[None] & keep.bool()[:, None]
    assert torch.equal(allowed(mask)[:, 0], expected)


@given(keep=st.lists(st.booleans(), min_size=5, max_size=5))
@settings(max_examples=32, deadline=None)
def test_any_holes(keep):
    mask = decoder_mask(hidden(1, 5), torch.tensor([keep]))
    expected = torch.ones(5, 5).tril().bool() & torch.tensor(keep)
    assert torch.equal(allowed(mask, 1)[0, 0], expected)
    assert (mask.keep is None) == all(keep)


def test_a_mask_that_hides_nothing_costs_nothing():
    assert decoder_mask(hidden(), torch.ones(2, 4, dtype=torch.long)).keep is None


def test_a_window_hides_what_is_far():
    mask = decoder_mask(hidden(length=6), None, sliding_window=2)
    expected = torch.ones(6, 6).tril().bool() & torch.ones(6, 6).triu(-1).bool()
    assert torch.equal(allowed(mask)[0, 0], expected)


def test_a_whole_mask_is_the_whole_mask():
    whole = torch.rand(2, 1, 4, 4) > 0.5
    mask = decoder_mask(hidden(), whole, sliding_window=1)
    assert mask.kind == "bidirectional"
    assert mask.sliding_window is None
    assert torch.equal(mask.bias, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_lowest_number_hides_whatever_the_models_dtype(dtype, given):
    whole = torch.zeros(2, 1, 4, 4, dtype=given)
    whole[0, :, 1] = torch.finfo(given).min
    mask = decoder_mask(hidden().to(dtype), whole)
    query = torch.randn(2, 2, 4, 8).to(dtype)
    for name in ("eager", "sdpa"):
        found, _ = Attention(name)(query, query, query, mask=mask)
        assert (found[0, :, 1] == 0).all()
        assert torch.isfinite(found).all()


def test_a_mask_spec_stands_for_itself():
    spec = MaskSpec(kind="bidirectional", query_length=4, key_length=4)
    assert decoder_mask(hidden(), spec) is spec


def test_packed_documents_do_not_see_each_other():
    positions = torch.tensor([[0, 1, 0, 1], [0, 1, 2, 3]])
    found = allowed(decoder_mask(hidden(), None, position_ids=positions))
    block = torch.ones(2, 2).tril().bool()
    assert torch.equal(found[0, 0], torch.block_diag(block, block).bool())
    assert torch.equal(found[1, 0], torch.ones(4, 4).tril().bool())
    assert decoder_mask(hidden(), None, position_ids=torch.arange(4)[None] + 5).documents is None


def test_packed_documents_do_not_see_each_other_in_a_cache_either():
    positions, cache = torch.tensor([[0, 1, 0, 1], [0, 1, 2, 3]]), DynamicCache()
    one = decoder_mask(hidden(), None, cache, position_ids=torch.arange(4)[None])
    assert one.documents is None
    found = decoder_mask(hidden(), None, cache, position_ids=positions)
    assert torch.equal(allowed(found), allowed(decoder_mask(hidden(), None, position_ids=positions)))
    roomy = StaticCache(SimpleNamespace(num_hidden_layers=1), 8, whole=True)
    assert decoder_mask(hidden(), None, roomy, position_ids=positions).documents.shape == (2, 8)
    cache.update(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), 0)
    with pytest.raises(InputError, match="several packed documents"):
        decoder_mask(hidden(), None, cache, position_ids=positions)
    cache.reset()
    assert decoder_mask(hidden(), None, cache).documents is None
    assert decoder_mask(hidden(), None, cache_of(4), position_ids=positions).documents is None, "positions after others"


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.ones(2, 5), r"shape \(2, 5\); this call needs \(2, 7\)"),
        (torch.ones(2, 4), r"the cache \(3\) and in the input \(4\)"),
        (torch.ones(1, 7), r"shape \(1, 7\)"),
        (torch.ones(2, 4, 7), "must be"),
        (torch.ones(2, 1, 4, 4, dtype=torch.bool), r"\(2, 1, 4, 7\)"),
        (torch.ones(2, 1, 4, 7, dtype=torch.long), "convert it with"),
        (torch.zeros(2, 7).fill_(-1e9), "negative numbers"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, words):
    with pytest.raises(InputError, match=words):
        decoder_mask(hidden(), mask, cache_of(3))


def test_positions_count_from_the_first_token_of_each_row():
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 0, 1, 1, 0]])
    expected = [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert position_ids_from(hidden(3, 5), mask).tolist() == expected
    assert position_ids_from(hidden(3, 2), mask.bool(), cache_of(3, 3)).tolist() == [row[3:] for row in expected]
    assert position_ids_from(hidden(3, 2), None, cache_of(3, 3)).tolist() == [[3, 4]]


def test_positions_given_are_checked_and_kept():
    given = torch.tensor([[4, 5, 6, 7]])
    assert position_ids_from(hidden(), None, None, given) is given
    with pytest.raises(InputError, match=r"`position_ids` has shape \(1, 3\)"):
        position_ids_from(hidden(), None, None, given[:, :3])
