"""The position bias: its buckets, its table, and what becomes of it beside other masks, caches and kernels."""

import pytest
import torch
from transept_t5.modeling import T5EncoderModel, T5ForConditionalGeneration
from transept_t5.relative_bias import add_position_bias, relative_position_buckets
from transformers.models.t5.modeling_t5 import T5Attention as PeerAttention

from transept.attention import MaskSpec
from transept.cache import DynamicCache, EncoderDecoderCache, StaticCache


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 12), (64, 512), (6, 20)])
def test_buckets_are_the_peers(bidirectional, num_buckets, max_distance):
    distance = torch.arange(-700, 701)
    settings = {"bidirectional": bidirectional, "num_buckets": num_buckets, "max_distance": max_distance}
    found = relative_position_buckets(distance, **settings)
    assert torch.equal(found, PeerAttention._relative_position_bucket(distance, **settings))
    assert found.dtype == torch.long
    assert int(found.max()) == num_buckets - 1 or not bidirectional
    assert int(found.min()) == 0


def test_near_distances_have_a_bucket_each_and_far_ones_share():
    found = relative_position_buckets(torch.tensor([0, -1, -2, -15, -16, -17, -127, -128, -5000, 1, 40]), bidirectional=False)
    assert found[:4].tolist() == [0, 1, 2, 15]
    assert found[4] == found[5] == 16
    assert found[6:9].tolist() == [31, 31, 31]
    assert found[9:].tolist() == [0, 0], "what lies ahead of a decoder's query"


def test_the_bias_of_a_pair_is_the_row_of_its_distance():
    table = torch.nn.Embedding(8, 3)
    settings = {"bidirectional": True, "num_buckets": 8, "max_distance": 12}
    mask = add_position_bias(MaskSpec.causal(2, 6), table, device=torch.device("cpu"), **settings)
    assert mask.bias.shape == (1, 3, 2, 6)
    for query in range(2):
        for key in range(6):
            bucket = relative_position_buckets(torch.tensor(key - (4 + query)), **settings)
            assert torch.equal(mask.bias[0, :, query, key], table.weight[bucket])


def test_one_table_a_stack_in_its_first_layer(t5_config):
    model = T5ForConditionalGeneration(t5_config())
    tables = [name for name, _ in model.named_parameters() if "relative_attention_bias" in name]
    assert tables == [f"{part}.block.0.layer.0.SelfAttention.relative_attention_bias.weight" for part in ("encoder", "decoder")]


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_gradients_reach_the_tables_when_nothing_else_learns(t5_pair, ids, kernel, assert_equal_to_scale):
    models = t5_pair("T5ForConditionalGeneration")
    models[0].set_attention(kernel)
    gradients = []
    for model in models:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("relative_attention_bias" in name)
        model(input_ids=ids(), labels=ids(length=5, seed=1)).loss.backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    found, expected = gradients
    assert len(found) == len(expected) == 2
    for name, gradient in expected.items():
        assert_equal_to_scale(found[name], gradient, 1e-4)


@torch.no_grad()
def test_a_whole_mask_keeps_the_bias(t5_pair, ids, assert_equal_to_scale):
    ours, peer = t5_pair("T5ForConditionalGeneration")
    seen = torch.rand(2, 1, 11, 11, generator=torch.Generator().manual_seed(1)) > 0.4
    seen |= torch.eye(11, dtype=torch.bool)
    added = torch.zeros(2, 1, 11, 11).masked_fill(~seen, torch.finfo(torch.float32).min)
    expected = peer.encoder(ids(), attention_mask=added).last_hidden_state
    for mask in (seen, added, added.clamp(min=-torch.inf).masked_fill(~seen, -torch.inf)):
        assert_equal_to_scale(ours.encoder(ids(), mask).last_hidden_state, expected)
    expected = peer(input_ids=ids(), decoder_input_ids=ids(), decoder_attention_mask=added).logits
    assert_equal_to_scale(ours(input_ids=ids(), decoder_input_ids=ids(), decoder_attention_mask=seen).logits, expected)


@torch.no_grad()
def test_a_query_that_sees_nothing_is_no_nan(t5_config, ids):
    model = T5EncoderModel(t5_config()).eval()
    seen = torch.ones(2, 1, 11, 11, dtype=torch.bool)
    seen[0, :, 3] = False
    for kernel in ("eager", "sdpa"):
        model.set_attention(kernel)
        assert torch.isfinite(model(ids(), seen).last_hidden_state).all()


@torch.no_grad()
def test_packed_texts_are_what_each_is_alone(t5_config, ids, assert_equal_to_scale):
    model = T5ForConditionalGeneration(t5_config()).eval()
    first, second = ids(1, 4, seed=1), ids(1, 7, seed=2)
    documents = torch.tensor([[0] * 4 + [1] * 7])
    packed = model.encoder(torch.cat((first, second), 1), MaskSpec.bidirectional(11, documents=documents)).last_hidden_state
    assert_equal_to_scale(packed[:, :4], model.encoder(first).last_hidden_state)
    assert_equal_to_scale(packed[:, 4:], model.encoder(second).last_hidden_state)
    states = model.encoder(first).last_hidden_state
    mask = MaskSpec.causal(11, documents=documents)
    packed = model.decoder(torch.cat((first, second), 1), mask, states).last_hidden_state
    assert_equal_to_scale(packed[:, 4:], model.decoder(second, None, states).last_hidden_state)


@torch.no_grad()
def test_distances_go_on_behind_a_cache_that_shows_its_whole_storage(t5_config, ids, assert_equal_to_scale):
    model = T5ForConditionalGeneration(t5_config()).eval()
    tokens, states = ids(2, 9), model.encoder(ids(2, 6, seed=3))
    expected = model(encoder_outputs=states, decoder_input_ids=tokens, use_cache=False).logits
    cache = EncoderDecoderCache(StaticCache(model.config.get_text_config(decoder=True), 16, whole=True), DynamicCache())
    found = [
        model(encoder_outputs=states, decoder_input_ids=part, past_key_values=cache).logits
        for part in tokens.split((4, 1, 3, 1), 1)
    ]
    assert_equal_to_scale(torch.cat(found, 1), expected)
    assert len(cache.self_attention_cache) == 2
