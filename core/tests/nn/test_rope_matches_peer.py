"""Rotary embeddings have the peer's angles for every rope type, and stay right when a model moves."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig as PeerConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding as PeerRotaryEmbedding
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as peer_apply

from transept.errors import ConfigError
from transept.nn import RotaryEmbedding, apply_rotary

HEAD_DIM, MAX = 16, 64
TYPES = {
    "default": {"rope_type": "default"},
    "theta": {"rope_type": "default", "rope_theta": 500000.0},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 3.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "yarn betas": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 20.0, "beta_slow": 2.0},
    "yarn untruncated": {"rope_type": "yarn", "factor": 8.0, "truncate": False, "original_max_position_embeddings": 16},
    "yarn mscale": {"rope_type": "yarn", "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.7},
    "yarn attention_factor": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.3},
    "longrope": {
        "rope_type": "longrope",
        "factor": 4.0,
        "short_factor": [1.0 + 0.1 * i for i in range(HEAD_DIM // 2)],
        "long_factor": [2.0 + 0.5 * i for i in range(HEAD_DIM // 2)],
        "original_max_position_embeddings": 32,
    },
    "longrope attention_factor": {
        "rope_type": "longrope",
        "attention_factor": 1.2,
        "factor": 2.0,
        "short_factor": [1.0] * (HEAD_DIM // 2),
        "long_factor": [3.0] * (HEAD_DIM // 2),
        "original_max_position_embeddings": 32,
    },
    "proportional": {"rope_type": "proportional", "partial_rotary_factor": 0.5},
}


def build(parameters):
    parameters = {"rope_theta": 10000.0, **parameters}
    config = PeerConfig(
        hidden_size=4 * HEAD_DIM,
        num_attention_heads=4,
        head_dim=HEAD_DIM,
        max_position_embeddings=MAX,
        rope_parameters=copy.deepcopy(parameters),
    )
    ours = RotaryEmbedding(config.rope_parameters, head_dim=HEAD_DIM, max_position_embeddings=MAX)
    return ours, PeerRotaryEmbedding(config)


def assert_same_angles(ours, peer, positions):
    hidden_states = torch.zeros(positions.shape[0], positions.shape[1], 4)
    cos, sin = ours(hidden_states, positions)
    expected_cos, expected_sin = peer(hidden_states, positions)
    assert cos.shape == (positions.shape[0], 1, positions.shape[1], HEAD_DIM)
    torch.testing.assert_close(cos[:, 0], expected_cos, rtol=0, atol=1e-6)
    torch.testing.assert_close(sin[:, 0].abs(), expected_sin.abs(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("last", [7, MAX - 1, MAX, 3 * MAX], ids=lambda last: f"up to {last}")
def test_angles_are_the_peers(name, last):
    ours, peer = build(TYPES[name])
    assert_same_angles(ours, peer, torch.arange(last + 1)[None])


@pytest.mark.parametrize("name", ["dynamic", "longrope"])
def test_angles_follow_the_peers_while_a_sequence_grows(name):
    ours, peer = build(TYPES[name])
    assert_same_angles(ours, peer, torch.arange(20)[None])
    for position in range(20, 2 * MAX):
        assert_same_angles(ours, peer, torch.tensor([[position]]))
    assert_same_angles(ours, peer, torch.arange(5)[None])


def test_nothing_is_remembered_between_calls():
    ours, _ = build(TYPES["dynamic"])
    short = ours(torch.zeros(1, 5, 4), torch.arange(5)[None])
    ours(torch.zeros(1, 1, 4), torch.tensor([[10 * MAX]]))
    again = ours(torch.zeros(1, 5, 4), torch.arange(5)[None])
    assert torch.equal(short[0], again[0])
    assert torch.equal(short[1], again[1])


@pytest.mark.parametrize("batch", [1, 3])
def test_rotation_is_the_peers(batch):
    ours, peer = build(TYPES["default"])
    positions = torch.stack([torch.arange(9) + row for row in range(batch)])
    query, key = torch.randn(batch, 4, 9, HEAD_DIM), torch.randn(batch, 2, 9, HEAD_DIM)
    rotated = apply_rotary(query, key, *ours(query, positions))
    expected = peer_apply(query, key, *peer(query, positions))
    torch.testing.assert_close(rotated, expected, rtol=0, atol=1e-6)


@given(shift=st.integers(0, 10_000), distance=st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_scores_depend_on_distance_alone(shift, distance):
    ours, _ = build(TYPES["default"])
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 1, HEAD_DIM), torch.randn(1, 1, 1, HEAD_DIM)

    def score(at_query, at_key):
        cos, sin = ours(query, torch.tensor([[at_query, at_key]]))
        turned_query, _ = apply_rotary(query, query, cos[:, :, :1], sin[:, :, :1])
        turned_key, _ = apply_rotary(key, key, cos[:, :, 1:], sin[:, :, 1:])
        return float((turned_query * turned_key).sum())

    assert score(shift + distance, shift) == pytest.approx(score(distance, 0), abs=2e-2)


def test_partial_rotation_passes_the_rest_through():
    rope = RotaryEmbedding(
        {"rope_type": "default", "partial_rotary_factor": 0.5}, head_dim=HEAD_DIM, max_position_embeddings=MAX
    )
    query = torch.randn(2, 4, 6, HEAD_DIM)
    cos, sin = rope(query, torch.arange(6)[None])
    assert cos.shape[-1] == HEAD_DIM // 2
    rotated, _ = apply_rotary(query, query, cos, sin)
    assert torch.equal(rotated[..., HEAD_DIM // 2 :], query[..., HEAD_DIM // 2 :])
    narrow = RotaryEmbedding({"rope_type": "default"}, head_dim=HEAD_DIM // 2, max_position_embeddings=MAX)
    expected, _ = apply_rotary(*[query[..., : HEAD_DIM // 2]] * 2, *narrow(query, torch.arange(6)[None]))
    assert torch.equal(rotated[..., : HEAD_DIM // 2], expected)


@pytest.mark.parametrize("name", ["default", "dynamic", "longrope", "yarn"])
def test_frequencies_stay_float32_and_right_wherever_the_module_goes(name):
    ours, _ = build(TYPES[name])
    expected = ours.inv_freq.clone()
    with torch.device("meta"):
        on_meta = RotaryEmbedding(ours._rope.parameters, head_dim=HEAD_DIM, max_position_embeddings=MAX)
    assert not on_meta.inv_freq.is_meta  # a few numbers are computed at once, and never left without data
    for moved in (
        copy.deepcopy(ours).to(torch.bfloat16),
        copy.deepcopy(ours).half().double(),
        copy.deepcopy(ours).to("meta").to_empty(device="cpu"),
        pickle.loads(pickle.dumps(ours)),
        on_meta,
    ):
        assert moved.inv_freq.dtype == torch.float32
        assert torch.equal(moved.inv_freq, expected)
        assert all(buffer.device.type == "cpu" for buffer in moved.buffers())
    assert ours.state_dict() == {}


def test_angles_come_in_the_dtype_of_the_hidden_states():
    ours, _ = build(TYPES["default"])
    cos, sin = ours(torch.zeros(1, 3, 4, dtype=torch.bfloat16), torch.arange(3)[None])
    assert cos.dtype == sin.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"rope_type": "yarm", "factor": 2.0}, "Did you mean `yarn`"),
        ({"rope_type": "linear"}, "lacks 'factor'"),
        ({"rope_type": "dynamic"}, "lacks 'factor'"),
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}, "lacks 'high_freq_factor'"),
        ({"rope_type": "longrope", "short_factor": [1.0] * 8}, "lacks 'long_factor'"),
        ({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}, "has 1 numbers; this head needs 8"),
    ],
)
def test_wrong_parameters_are_named(parameters, words):
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        RotaryEmbedding(parameters, head_dim=HEAD_DIM, max_position_embeddings=MAX)
