"""Positions begin after the padding token's number and skip padding, on whichever side it is, with and without a cache."""

import pytest
import torch

from transept.cache import DynamicCache
from transept.errors import InputError

PAD = 1


def padded(ids, side, count=3):
    padding = torch.full((1, count), PAD)
    row = torch.cat((padding, ids) if side == "left" else (ids, padding), 1)
    return row, row.ne(PAD).long()


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_row_has_the_states_that_it_has_alone(roberta, roberta_peer, ids, side):
    model = roberta("RobertaForTokenClassification")
    row, mask = padded(ids(1), side)
    place = slice(3, None) if side == "left" else slice(0, 11)
    found = model(row, mask).logits
    torch.testing.assert_close(found[:, place], model(ids(1)).logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[:, place], roberta_peer(model)(row, mask).logits[:, place], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_positions_given_are_those_counted(roberta, ids):
    model = roberta("RobertaModel")
    counted = model(ids()).last_hidden_state
    assert torch.equal(model(ids(), position_ids=torch.arange(2, 13)[None]).last_hidden_state, counted)
    assert not torch.allclose(model(ids(), position_ids=torch.arange(11)[None]).last_hidden_state, counted, atol=1e-2)


@torch.no_grad()
def test_all_embeddings_count(roberta, roberta_peer, ids):
    model = roberta("RobertaModel")
    row, mask = padded(ids(1), "left")
    embeds = model.get_input_embeddings()(row)
    found = model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    expected = roberta_peer(model)(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found[:, 3:], expected[:, 3:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[:, 3:], model(row, mask).last_hidden_state[:, 3:], atol=1e-2)


@torch.no_grad()
def test_padding_in_a_cache_has_no_position(roberta, ids):
    model = roberta("RobertaForCausalLM", is_decoder=True)
    whole = model(ids(1)).logits
    row, mask = padded(ids(1), "left")
    cache, end, found = DynamicCache(), 0, []
    for size in (6, 1, 7):
        step = row[:, end : end + size]
        end += size
        found.append(model(step, mask[:, :end], past_key_values=cache, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(found, 1)[:, 3:], whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_text_of_a_padded_batch_is_that_of_each_prompt(roberta, ids, cache):
    model = roberta("RobertaForCausalLM", is_decoder=True)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "cache_implementation": cache}
    short = ids(1, 5, seed=3)
    batch = torch.cat((ids(1, 9), torch.cat((torch.full((1, 4), PAD), short), 1)))
    together = model.generate(batch, attention_mask=batch.ne(PAD).long(), **options)
    assert torch.equal(together[:1], model.generate(ids(1, 9), **options))
    assert torch.equal(together[1:, 4:], model.generate(short, **options))


def test_text_is_what_forward_says_and_the_peers_from_the_same_positions(roberta, roberta_peer, ids):
    model = roberta("RobertaForCausalLM", is_decoder=True)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    found = model.generate(ids(), attention_mask=torch.ones_like(ids()), **options)
    plain = ids()
    with torch.no_grad():
        for _ in range(8):
            plain = torch.cat((plain, model(plain, use_cache=False).logits[:, -1:].argmax(-1)), 1)
    assert torch.equal(found, plain)
    # the peer's own generation counts from 0, unlike its forward, unless it is told
    positions = torch.arange(2, 13).expand(2, -1)
    assert torch.equal(found, roberta_peer(model).generate(ids(), position_ids=positions, **options))
    assert torch.equal(found, model.generate(ids(), position_ids=positions, **options))


@torch.no_grad()
def test_a_sequence_past_the_position_table_is_refused(roberta, ids):
    model = roberta("RobertaForTokenClassification")
    assert model(ids(1, 22)).logits.shape == (1, 22, 2)
    with pytest.raises(InputError, match=r"23 tokens, and the position table ends at 22.*truncat"):
        model(ids(1, 23))
    with pytest.raises(InputError, match=r"`position_ids` has ids from 2 to 24, and the position table is 0 to 23"):
        model(ids(1, 23), torch.ones(1, 23, dtype=torch.long))
    # padding takes no row, so a padded batch may be wider than the table
    row, mask = padded(ids(1, 22), "right", count=8)
    torch.testing.assert_close(model(row, mask).logits[:, :22], model(ids(1, 22)).logits, rtol=1e-4, atol=1e-5)
