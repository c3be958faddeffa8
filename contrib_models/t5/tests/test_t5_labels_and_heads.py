"""What the decoder is fed, and where the heads read."""

import pytest
import torch
from transept_t5.heads import T5ForQuestionAnswering, T5ForSequenceClassification
from transept_t5.modeling import T5ForConditionalGeneration, T5Model

from transept.errors import ConfigError, InputError

SENTINELS = (96, 95, 94)  # <extra_id_0> is the last of the vocabulary, and the others count down


def test_labels_with_sentinels_are_shifted_as_the_peer_does(t5_pair):
    ours, peer = t5_pair("T5ForConditionalGeneration")
    labels = torch.tensor([[96, 5, 6, 95, 7, 1], [96, 8, 95, 1, -100, -100]])
    found = ours.prepare_decoder_input_ids_from_labels(labels)
    assert torch.equal(found, peer._shift_right(labels))
    assert found.tolist() == [[0, 96, 5, 6, 95, 7], [0, 96, 8, 95, 1, 0]]
    assert labels[1, -1] == -100, "the labels given stay as they are"


def test_the_loss_of_span_corruption_is_the_peers(t5_pair, version, ids, assert_equal_to_scale):
    ours, peer = t5_pair("T5ForConditionalGeneration", version)
    corrupted = ids()
    corrupted[:, 3], corrupted[:, 7] = SENTINELS[0], SENTINELS[1]
    labels = torch.tensor([[96, 5, 6, 95, 7, 1], [96, 8, 95, 1, -100, -100]])
    found, expected = ours(input_ids=corrupted, labels=labels), peer(input_ids=corrupted, labels=labels)
    assert_equal_to_scale(found.loss, expected.loss)
    assert_equal_to_scale(found.logits, expected.logits)
    counted = ours(input_ids=corrupted, labels=labels, num_items_in_batch=20).loss
    assert_equal_to_scale(counted, expected.loss * 10 / 20)


@pytest.mark.parametrize("name", ["decoder_start_token_id", "pad_token_id"])
def test_shifting_needs_the_start_and_the_padding(t5_config, ids, name):
    model = T5ForConditionalGeneration(t5_config(**{name: None}))
    with pytest.raises(ConfigError, match=name):
        model(input_ids=ids(), labels=ids(length=4))


def test_a_start_token_for_each_row(t5_config):
    model = T5Model(t5_config(decoder_start_token_id=[3, 4]))
    assert model._shift_right(torch.tensor([[7, 8, 9], [5, 6, 1]])).tolist() == [[3, 7, 8], [4, 5, 6]]


def test_a_decoder_without_input_says_what_it_lacks(t5_config, ids):
    for kind in (T5Model, T5ForConditionalGeneration):
        with pytest.raises(InputError, match=r"`decoder_input_ids`"):
            kind(t5_config())(input_ids=ids())


def test_states_of_another_batch_are_refused(t5_config, ids):
    model = T5Model(t5_config())
    with pytest.raises(InputError, match=r"2 sequences.*1"):
        model(input_ids=ids(1), decoder_input_ids=ids(2))


def test_an_encoder_has_no_cache(t5_config, ids):
    with pytest.raises(InputError, match="no cache"):
        T5Model(t5_config()).encoder(ids(), use_cache=True)


@torch.no_grad()
def test_encoder_outputs_may_be_a_tuple(t5_config, ids):
    model = T5ForConditionalGeneration(t5_config()).eval()
    encoded = model.encoder(ids(), output_hidden_states=True)
    expected = model(encoder_outputs=encoded, decoder_input_ids=ids(length=3))
    found = model(encoder_outputs=encoded.to_tuple(), decoder_input_ids=ids(length=3))
    assert torch.equal(found.logits, expected.logits)
    assert len(found.encoder_hidden_states) == len(expected.encoder_hidden_states) == 4
    found = model(encoder_outputs=(encoded.last_hidden_state,), decoder_input_ids=ids(length=3))
    assert torch.equal(found.logits, expected.logits)
    with pytest.raises(InputError, match="`encoder_outputs` is a tensor"):
        model(encoder_outputs=encoded.last_hidden_state, decoder_input_ids=ids(length=3))


@torch.no_grad()
def test_a_decoder_alone_looks_at_no_encoder(t5_pair, ids, assert_equal_to_scale):
    ours, peer = t5_pair("T5Model")
    found = ours.decoder(ids(), output_attentions=True)
    assert found.cross_attentions is None
    assert_equal_to_scale(found.last_hidden_state, peer.decoder(ids()).last_hidden_state)


@torch.no_grad()
def test_a_sequence_is_read_at_its_last_end(t5_pair, ids, assert_equal_to_scale):
    ours, peer = t5_pair("T5ForSequenceClassification", num_labels=3)
    tokens = ids()
    tokens[:, 4] = 1
    tokens[0, 10], tokens[1, 7], tokens[1, 8:] = 1, 1, 0
    mask = (tokens != 0).long()
    found, expected = ours(tokens, mask).logits, peer(tokens, mask).logits
    assert_equal_to_scale(found, expected)
    tokens[0, 4] = 5  # one end in this row and two in the other: nothing that a batch should mind
    assert_equal_to_scale(ours(tokens, mask).logits[:1], peer(tokens[:1], mask[:1]).logits)


def test_what_a_sequence_cannot_be_read_of(t5_config, ids):
    model = T5ForSequenceClassification(t5_config(num_labels=3))
    tokens = ids()
    tokens[0, -1] = 1
    with pytest.raises(InputError, match="no end-of-sequence token"):
        model(tokens)
    tokens[1, -1] = 1
    with pytest.raises(InputError, match="as many"):
        model(tokens, decoder_input_ids=tokens[:, :5])
    with pytest.raises(InputError, match="`input_ids`"):
        model(inputs_embeds=model.get_input_embeddings()(tokens))


def test_one_end_of_an_answer_is_not_enough(t5_config, ids):
    model = T5ForQuestionAnswering(t5_config())
    with pytest.raises(InputError, match="both"):
        model(ids(), start_positions=torch.tensor([1, 2]))
