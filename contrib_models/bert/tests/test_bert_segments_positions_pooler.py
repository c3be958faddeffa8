"""What is BERT's own under every head: segments, a table of positions, the pooled first state."""

import pytest
import torch

from transept.errors import ConfigError, InputError


@torch.no_grad()
def test_no_segments_are_the_first_segment(bert, ids):
    model = bert("BertModel")
    first = torch.zeros_like(ids())
    assert torch.equal(model(ids()).last_hidden_state, model(ids(), token_type_ids=first).last_hidden_state)
    assert torch.equal(model(ids(), token_type_ids=first[:1]).pooler_output, model(ids()).pooler_output)
    assert not torch.allclose(model(ids(), token_type_ids=first + 1).pooler_output, model(ids()).pooler_output)


@torch.no_grad()
def test_positions_are_counted_from_the_start_of_a_row_or_given(bert_pair, ids, assert_equal_to_scale):
    models = bert_pair("BertModel")
    counted = models.ours(ids()).last_hidden_state
    assert torch.equal(models.ours(ids(), position_ids=torch.arange(11)[None]).last_hidden_state, counted)
    scattered = torch.stack((torch.arange(11).flip(0), torch.arange(11) * 2))
    found, expected = models.both(ids(), position_ids=scattered)
    assert_equal_to_scale(found.last_hidden_state, expected.last_hidden_state)
    # padding on the left is counted too, as the peer counts it
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[0, :4] = 0
    found, expected = models.both(ids(), attention_mask=mask)
    assert_equal_to_scale(found.last_hidden_state[0, 4:], expected.last_hidden_state[0, 4:])


@torch.no_grad()
def test_positions_do_not_pack_documents(bert_pair, ids, assert_equal_to_scale):
    models = bert_pair("BertModel")
    twice = torch.cat((torch.arange(5), torch.arange(6)))[None]
    found, expected = models.both(ids(), position_ids=twice)
    assert_equal_to_scale(found.last_hidden_state, expected.last_hidden_state)


@torch.no_grad()
def test_the_pooler_reads_the_first_state(bert, ids):
    model = bert("BertModel")
    output = model(ids())
    assert torch.equal(output.pooler_output, model.pooler.dense(output.last_hidden_state[:, 0]).tanh())
    assert output.to_tuple()[1] is output.pooler_output
    without = type(model)(model.config, add_pooling_layer=False).eval()
    without.load_state_dict({n: p for n, p in model.state_dict().items() if not n.startswith("pooler")})
    assert without(ids()).pooler_output is None
    assert "pooler_output" not in without(ids())
    assert torch.equal(without(ids()).last_hidden_state, output.last_hidden_state)


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 4, 100])
def test_feed_forward_in_chunks_is_the_same(bert, ids, size):
    whole = bert("BertModel")(ids()).last_hidden_state
    assert torch.allclose(bert("BertModel", chunk_size_feed_forward=size)(ids()).last_hidden_state, whole, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"token_type_ids": torch.full((2, 11), 3)}, "`token_type_ids` has ids from 3 to 3, and `type_vocab_size` is 0 to 2"),
        ({"token_type_ids": torch.full((2, 11), -1)}, "`token_type_ids` has ids from -1 to -1"),
        ({"token_type_ids": torch.zeros(2, 10, dtype=torch.long)}, r"`token_type_ids` has shape \(2, 10\).*needs \(2, 11\)"),
        ({"token_type_ids": torch.zeros(11, dtype=torch.long)}, r"`token_type_ids` has shape \(11,\)"),
        ({"position_ids": torch.full((2, 11), 24)}, "`position_ids` has ids from 24 to 24, and the position table is 0 to 23"),
        ({"position_ids": torch.zeros(2, 10, dtype=torch.long)}, r"`position_ids` has shape \(2, 10\)"),
    ],
    ids=str,
)
def test_what_has_no_row_is_refused(bert, ids, arguments, says):
    with pytest.raises(InputError, match=says):
        bert("BertModel")(ids(), **arguments)


@torch.no_grad()
def test_a_sequence_past_the_position_table_is_refused(bert, ids):
    model = bert("BertForTokenClassification")
    assert model(ids(1, 24)).logits.shape == (1, 24, 2)
    with pytest.raises(InputError, match=r"25 tokens, and the position table ends at 24.*truncat"):
        model(ids(1, 25))
    # whoever gives positions may go further
    assert model(ids(1, 25), position_ids=torch.arange(25)[None] % 24).logits.shape == (1, 25, 2)


def test_relative_positions_are_refused():
    from transept_bert.configuration import BertConfig

    assert BertConfig.from_dict({"position_embedding_type": "absolute"}).hidden_size == 768
    with pytest.raises(ConfigError, match=r"`position_embedding_type` is `relative_key`"):
        BertConfig.from_dict({"position_embedding_type": "relative_key"})
