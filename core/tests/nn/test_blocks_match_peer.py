"""Norms, activations, feed-forward blocks and heads' slicing give the peer's numbers."""

import copy
import pickle

import pytest
import torch
from transformers import LlamaConfig as PeerConfig
from transformers.activations import ACT2FN as PEER_ACT2FN
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.llama.modeling_llama import LlamaMLP as PeerMLP
from transformers.models.llama.modeling_llama import LlamaRMSNorm as PeerRMSNorm

from transept.errors import ConfigError, InputError
from transept.nn import ACT2FN, GatedMLP, RMSNorm, activation, keep_positions


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 24), (2, 7, 24), (2, 3, 4, 24)])
def test_rms_norm_is_the_peers(dtype, shape):
    ours, peer = RMSNorm(24, eps=1e-5), PeerRMSNorm(24, eps=1e-5)
    with torch.no_grad():
        ours.weight.copy_(torch.randn(24))
    peer.load_state_dict(ours.state_dict())
    hidden_states = torch.randn(shape).to(dtype) * 3
    assert torch.equal(ours.to(dtype)(hidden_states), peer.to(dtype)(hidden_states))


def test_rms_norm_takes_a_narrow_input_with_a_wide_weight():
    ours, peer = RMSNorm(8), PeerRMSNorm(8)
    hidden_states = torch.randn(2, 3, 8, dtype=torch.bfloat16)
    assert torch.equal(ours(hidden_states), peer(hidden_states))


def test_rms_norm_gradients_are_the_peers():
    ours, peer = RMSNorm(24), PeerRMSNorm(24)
    grads = []
    for norm in (ours, peer):
        hidden_states = torch.linspace(-2, 3, 48).view(2, 24).requires_grad_()
        norm(hidden_states).pow(3).sum().backward()
        grads.append((hidden_states.grad, norm.weight.grad))
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(ACT2FN))
def test_activation_is_the_peers(name):
    x = torch.linspace(-12, 12, 301)
    expected = PEER_ACT2FN[name](x)
    torch.testing.assert_close(ACT2FN[name](x), expected, rtol=1e-5, atol=2e-5 if name.startswith("gelu") else 1e-6)
    assert pickle.loads(pickle.dumps(activation(name)))(x).equal(activation(name)(x))


def test_every_activation_of_the_peer_without_parameters_is_known():
    assert set(PEER_ACT2FN) - set(ACT2FN) == {"prelu", "xielu"}


def test_unknown_activation_names_its_neighbours():
    with pytest.raises(ConfigError, match=r"called `gelu_nwe`. Did you mean `gelu_new`"):
        activation("gelu_nwe")


@pytest.mark.parametrize("bias", [False, True])
def test_gated_mlp_is_the_peers(bias):
    config = PeerConfig(
        hidden_size=16, num_attention_heads=4, intermediate_size=40, mlp_bias=bias, hidden_act="gelu_pytorch_tanh"
    )
    ours, peer = GatedMLP(16, 40, "gelu_pytorch_tanh", bias=bias), PeerMLP(config)
    ours.load_state_dict(peer.state_dict(), strict=True)
    hidden_states = torch.randn(2, 5, 16)
    torch.testing.assert_close(ours(hidden_states), peer(hidden_states), rtol=1e-5, atol=1e-6)
    assert copy.deepcopy(ours)(hidden_states).equal(ours(hidden_states))


@pytest.mark.parametrize(
    "wanted",
    [0, 1, 3, 7, torch.tensor([0, 4]), torch.tensor([[0, 2], [3, 1]]), torch.arange(14).view(2, 7) % 3 == 0],
    ids=["all", "last", "three", "every", "positions", "positions of rows", "bools"],
)
def test_kept_positions_are_the_peers(wanted):
    hidden_states = torch.randn(2, 7, 4)
    assert torch.equal(keep_positions(hidden_states, wanted), slice_logits_to_keep(hidden_states, wanted))


def test_a_negative_number_of_positions_is_refused():
    with pytest.raises(InputError, match="`logits_to_keep` is -1"):
        keep_positions(torch.zeros(1, 2, 3), -1)
