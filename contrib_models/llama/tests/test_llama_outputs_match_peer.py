"""Same weights, same inputs: the peer's logits, hidden states and attention weights."""

import pytest
import torch

HALF = 4  # head_dim / 2 of the small configuration
SHAPES = {
    "grouped queries": {},
    "every head its own keys": {"num_key_value_heads": 4},
    "one key head": {"num_key_value_heads": 1},
    "heads wider than the stream": {"head_dim": 20},
    "heads narrower than the stream": {"head_dim": 4, "num_attention_heads": 5, "num_key_value_heads": 5, "hidden_size": 30},
    "attention bias": {"attention_bias": True},
    "mlp bias": {"mlp_bias": True},
    "tied": {"tie_word_embeddings": True},
    "another activation": {"hidden_act": "gelu_pytorch_tanh"},
    "another epsilon": {"rms_norm_eps": 1e-2},
    "one layer": {"num_hidden_layers": 1},
}
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 500.0},
    "linear": {"rope_type": "linear", "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "longrope": {
        "rope_type": "longrope",
        "factor": 4.0,
        "short_factor": [1.0 + i for i in range(HALF)],
        "long_factor": [2.0 + 3 * i for i in range(HALF)],
        "original_max_position_embeddings": 32,
    },
}


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_of_every_shape(pair, ids, assert_equal_to_scale, shape):
    found, expected = pair("LlamaForCausalLM", **SHAPES[shape]).both(ids())
    assert_equal_to_scale(found.logits, expected.logits)


@torch.no_grad()
@pytest.mark.parametrize("length", [9, 32, 33, 90], ids=lambda length: f"{length} tokens")
@pytest.mark.parametrize("rope", ROPES)
def test_logits_of_every_rope_type(pair, ids, assert_equal_to_scale, rope, length):
    models = pair("LlamaForCausalLM", rope_parameters={"rope_theta": 10000.0, **ROPES[rope]})
    found, expected = models.both(ids(length=length))
    assert_equal_to_scale(found.logits, expected.logits, 5e-5)


@torch.no_grad()
def test_bfloat16_is_as_near_to_float32_as_the_peer(pair, ids, assert_equal_to_scale):
    narrow, wide = pair("LlamaForCausalLM", dtype=torch.bfloat16), pair("LlamaForCausalLM")
    wide.peer.load_state_dict({name: tensor.float() for name, tensor in narrow.peer.state_dict().items()})
    found, expected = narrow.both(ids())
    exact = wide.peer(ids()).logits
    assert found.logits.dtype == torch.bfloat16
    assert_equal_to_scale(found.logits, expected.logits, 5e-2)
    error, peer_error = ((output.logits.float() - exact).square().mean().sqrt() for output in (found, expected))
    assert error < 1.5 * peer_error


@torch.no_grad()
def test_holes_in_the_mask(pair, ids, assert_equal_to_scale):
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[0, [3, 4, 8]] = 0
    mask[1, [1, 9]] = 0
    found, expected = pair("LlamaForCausalLM").both(ids(), attention_mask=mask)
    assert_equal_to_scale(found.logits[mask.bool()], expected.logits[mask.bool()])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_whole_mask(pair, ids, assert_equal_to_scale, kind):
    allowed = torch.rand(2, 1, 11, 11, generator=torch.Generator().manual_seed(3)) > 0.4
    allowed |= torch.eye(11).bool()
    added = torch.zeros(2, 1, 11, 11).masked_fill(~allowed, torch.finfo(torch.float32).min)
    models = pair("LlamaForCausalLM")
    found = models.ours(ids(), attention_mask=allowed if kind == "bool" else added)
    assert_equal_to_scale(found.logits, models.peer(ids(), attention_mask=added).logits)


@torch.no_grad()
def test_packed_documents(pair, ids, assert_equal_to_scale):
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3]])
    models = pair("LlamaForCausalLM")
    found, expected = models.both(ids(1), position_ids=positions, use_cache=False)
    assert_equal_to_scale(found.logits, expected.logits)
    assert_equal_to_scale(found.logits[:, 4:7], models.ours(ids(1)[:, 4:7]).logits)


@torch.no_grad()
@pytest.mark.parametrize("wanted", [1, 3, torch.tensor([0, 5])], ids=["last", "three", "two positions"])
def test_logits_of_some_positions(pair, ids, assert_equal_to_scale, wanted):
    found, expected = pair("LlamaForCausalLM").both(ids(), logits_to_keep=wanted)
    assert_equal_to_scale(found.logits, expected.logits)


@torch.no_grad()
def test_embeddings_in_place_of_ids(pair, ids, assert_equal_to_scale):
    models = pair("LlamaForCausalLM")
    embeds = models.peer.get_input_embeddings()(ids())
    found, expected = models.both(inputs_embeds=embeds)
    assert_equal_to_scale(found.logits, expected.logits)


def test_unknown_and_contradictory_arguments_are_refused(pair, ids):
    model = pair("LlamaForCausalLM").ours
    with pytest.raises(TypeError, match="attention_masks"):
        model(ids(), attention_masks=torch.ones(2, 11))
    with pytest.raises(ValueError, match="exactly one"):
        model(ids(), inputs_embeds=torch.zeros(2, 11, 32))
    with pytest.raises(ValueError, match="exactly one"):
        model()
    with pytest.raises(ValueError, match="ids from 1 to 97, and the vocabulary is 0 to 96"):
        model(torch.tensor([[1, 97]]))


@torch.no_grad()
@pytest.mark.parametrize("rope", ["default", "dynamic", "longrope"])
def test_nothing_is_read_back_from_a_device(pair, ids, rope):
    model = pair("LlamaForCausalLM", rope_parameters={"rope_theta": 10000.0, **ROPES[rope]}).ours.to("meta")
    tokens = ids().to("meta")
    # on meta tensors, looking at any value raises
    first = model(tokens, attention_mask=torch.ones_like(tokens))
    step = model(tokens[:, :1], attention_mask=tokens.new_ones(2, 12), past_key_values=first.past_key_values)
    packed = model(tokens, position_ids=tokens, use_cache=False)
    assert first.logits.shape == packed.logits.shape == (2, 11, 97)
    assert step.logits.shape == (2, 1, 97)
    assert step.logits.is_meta
