"""Llama checkpoints that the peer makes, small and odd, and the same weights in our classes."""

import copy

import pytest
import torch
import transept_llama.modeling as ours
import transformers
from transept_llama.configuration import LlamaConfig

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.15,
}


class Pair:
    """The peer's model and ours, of one architecture and with the same weights."""

    def __init__(self, name, dtype=torch.float32, **overrides):
        settings = {**SMALL, **overrides}
        torch.manual_seed(0)
        peer_config = transformers.LlamaConfig(**copy.deepcopy(settings))
        self.peer = getattr(transformers, name)._from_config(peer_config, attn_implementation="eager", dtype=dtype).eval()
        self.ours = getattr(ours, name)(LlamaConfig(**copy.deepcopy(settings))).to(dtype).eval()
        with torch.no_grad():
            # biases and norms start alike everywhere; random ones show where they are used
            for parameter_name, parameter in self.peer.named_parameters():
                if parameter.dim() == 1:
                    parameter.copy_((1.0 if "norm" in parameter_name else 0.0) + 0.2 * torch.randn_like(parameter))
        missing, unexpected = self.ours.load_state_dict(self.peer.state_dict(), strict=True)
        assert not missing
        assert not unexpected

    def both(self, *args, **kwargs):
        """Outputs of ours and of the peer for the same call."""
        return self.ours(*args, **kwargs), self.peer(*args, **kwargs)


@pytest.fixture
def pair():
    return Pair


def scaled_difference(found, expected):
    found, expected = found.detach().float(), expected.detach().float()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-2))


@pytest.fixture
def assert_equal_to_scale():
    def check(found, expected, tolerance=1e-5):
        assert found.shape == expected.shape
        assert scaled_difference(found, expected) <= tolerance

    return check


@pytest.fixture
def ids():
    """(batch, seq) token ids without padding."""

    def make(batch=2, length=11, seed=0):
        return torch.randint(1, SMALL["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(seed))

    return make
