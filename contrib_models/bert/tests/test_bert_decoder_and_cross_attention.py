"""BERT as a decoder: causal, cached, over another encoder's states."""

import pytest
import torch

from transept.cache import DynamicCache, EncoderDecoderCache
from transept.errors import ConfigError, InputError

CROSS = {"is_decoder": True, "add_cross_attention": True}


def encoded(batch=2, length=7):
    states = torch.randn(batch, length, 32, generator=torch.Generator().manual_seed(5))
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[-1, 5:] = 0
    return {"encoder_hidden_states": states, "encoder_attention_mask": mask}


@torch.no_grad()
@pytest.mark.parametrize("name", ["BertModel", "BertLMHeadModel"])
def test_every_layer_is_the_peers(bert_pair, ids, assert_equal_to_scale, name):
    models = bert_pair(name, **CROSS)
    found, expected = models.both(ids(), **encoded(), output_hidden_states=True, output_attentions=True)
    for field in ("hidden_states", "attentions", "cross_attentions"):
        assert len(found[field]) == len(expected[field])
        for ours, theirs in zip(found[field], expected[field], strict=True):
            assert_equal_to_scale(ours, theirs)
    assert_equal_to_scale(found[0], expected[0])


def test_gradients_reach_the_encoder_as_the_peers_do(bert_pair, ids, assert_equal_to_scale):
    models = bert_pair("BertLMHeadModel", **CROSS)
    given = encoded()
    gradients = []
    for model in (models.ours, models.peer):
        states = given["encoder_hidden_states"].clone().requires_grad_()
        model(ids(), encoder_hidden_states=states, labels=ids()).loss.backward()
        gradients.append(states.grad)
    assert_equal_to_scale(*gradients)
    wanted = dict(models.peer.named_parameters())
    for name, parameter in models.ours.named_parameters():
        assert_equal_to_scale(parameter.grad, wanted[name].grad, 1e-4)


@torch.no_grad()
def test_steps_with_a_cache_give_one_pass(bert_pair, ids, assert_equal_to_scale):
    models = bert_pair("BertLMHeadModel", **CROSS)
    whole = models.peer(ids(), **encoded(), use_cache=False).logits
    cache = None
    for start, end in ((0, 5), (5, 6), (6, 11)):
        output = models.ours(ids()[:, start:end], **encoded(), past_key_values=cache)
        cache = output.past_key_values
        assert isinstance(cache, EncoderDecoderCache)
        assert_equal_to_scale(output.logits, whole[:, start:end])
    assert cache.get_seq_length() == 11
    assert cache.cross_attention_cache.get_seq_length() == 7
    # a cache without room for the encoder's keys serves as well: they are projected each time
    cache = DynamicCache()
    models.ours(ids()[:, :5], **encoded(), past_key_values=cache)
    assert_equal_to_scale(models.ours(ids()[:, 5:], **encoded(), past_key_values=cache).logits, whole[:, 5:])


def test_text_over_an_encoder_is_the_peers(bert_pair, ids):
    models = bert_pair("BertLMHeadModel", **CROSS)
    arguments = {**encoded(), "max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones(2, 5, dtype=torch.long)}
    cached = models.ours.generate(ids(2, 5), **arguments)
    assert cached.shape == (2, 13)
    assert torch.equal(cached, models.ours.generate(ids(2, 5), **arguments, use_cache=False))
    assert torch.equal(cached, models.peer.generate(ids(2, 5), **arguments, use_cache=False))


@torch.no_grad()
def test_text_of_a_left_padded_batch_with_segments_is_the_peers(bert_pair, ids):
    models = bert_pair("BertLMHeadModel", is_decoder=True, pad_token_id=0)
    tokens, mask = ids(2, 6), torch.ones(2, 6, dtype=torch.long)
    mask[0, :3] = 0
    tokens[0, :3] = 0
    arguments = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False}
    found = models.ours.generate(tokens, **arguments)
    assert torch.equal(found, models.peer.generate(tokens, **arguments))
    alone = models.ours.generate(tokens[:1, 3:], max_new_tokens=8, do_sample=False)
    assert torch.equal(found[:1, 3:], alone)
    segments = torch.ones_like(tokens)
    with_segments = models.ours.generate(tokens, token_type_ids=segments, **arguments)
    assert torch.equal(with_segments, models.ours.generate(tokens, token_type_ids=segments, **arguments, use_cache=False))


@torch.no_grad()
def test_labels_make_no_cache(bert, ids):
    model = bert("BertLMHeadModel", is_decoder=True)
    assert model(ids()).past_key_values.get_seq_length() == 11
    assert model(ids(), labels=ids()).past_key_values is None
    assert model(ids(), labels=ids(), use_cache=True).past_key_values is not None
    model.config.use_cache = False
    assert model(ids()).past_key_values is None


@torch.no_grad()
def test_an_encoder_takes_a_prefix_of_keys(bert_pair, ids, assert_equal_to_scale):
    import transformers

    models = bert_pair("BertModel")
    prefixes = [torch.randn(2, 4, 3, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    outputs = []
    for model, cache in ((models.ours, DynamicCache()), (models.peer, transformers.DynamicCache())):
        for layer in range(2):
            cache.update(prefixes[2 * layer], prefixes[2 * layer + 1], layer)
        mask = torch.ones(2, 14, dtype=torch.long)
        outputs.append(model(ids(), attention_mask=mask, past_key_values=cache).last_hidden_state)
    assert_equal_to_scale(*outputs)


@torch.no_grad()
def test_what_only_a_decoder_takes_is_refused(bert, ids):
    encoder, decoder = bert("BertModel"), bert("BertModel", is_decoder=True)
    with pytest.raises(InputError, match=r"keeps no cache.*`is_decoder=True`.*`use_cache=False`"):
        encoder(ids(), use_cache=True)
    for model in (encoder, decoder):
        with pytest.raises(InputError, match="`encoder_hidden_states` needs layers with cross-attention"):
            model(ids(), **encoded())
    with pytest.raises(InputError, match="`encoder_attention_mask` is given without `encoder_hidden_states`"):
        bert("BertModel", **CROSS)(ids(), encoder_attention_mask=torch.ones(2, 7))
    with pytest.raises(ConfigError, match=r"`add_cross_attention`.*needs a decoder"):
        bert("BertModel", add_cross_attention=True)
    past = decoder(ids(2, 20)).past_key_values
    with pytest.raises(InputError, match="The sequence has 25 tokens"):
        decoder(ids(2, 5), past_key_values=past)


def test_a_head_of_the_wrong_direction_is_told(bert):
    with pytest.warns(UserWarning, match="`BertLMHeadModel` of an encoder"):
        model = bert("BertLMHeadModel")
    with pytest.raises(InputError, match="is_decoder=True"):
        model.generate(torch.tensor([[5, 6]]), max_new_tokens=2)
    with pytest.warns(UserWarning, match="`BertForMaskedLM` of a decoder"):
        bert("BertForMaskedLM", is_decoder=True)
