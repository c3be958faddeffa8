"""RoBERTa models of ours with random weights, and the peer's with the same."""

import pytest
import torch

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 24,
    "initializer_range": 0.3,
}


@pytest.fixture
def roberta():
    """A class of ours by name: `roberta("RobertaModel", num_labels=3)`."""

    def make(name, **overrides):
        from transept_roberta.configuration import RobertaConfig

        import transept

        torch.manual_seed(0)
        return getattr(transept, name)(RobertaConfig(**{**SMALL, **overrides})).eval()

    return make


@pytest.fixture
def roberta_peer(tmp_path):
    """The peer's model with the weights of ours."""
    transformers = pytest.importorskip("transformers")

    def make(ours):
        ours.save_pretrained(tmp_path / "for the peer")
        peer = getattr(transformers, type(ours).__name__)
        return peer.from_pretrained(tmp_path / "for the peer", attn_implementation="eager").eval()

    return make


@pytest.fixture
def ids():
    """(batch, seq) token ids without padding."""

    def make(batch=2, length=11, seed=0):
        return torch.randint(5, SMALL["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(seed))

    return make
