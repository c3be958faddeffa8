"""Small T5 checkpoints with random weights: the peer's model, and ours with the same weights."""

import importlib

import pytest
import torch
import transformers
from transept_t5.configuration import T5Config

SMALL = {
    "vocab_size": 97,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 56,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "decoder_start_token_id": 0,
}
VERSIONS = {
    "v1.0": {},
    "v1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}


def make_pair(name, version="v1.0", **changes):
    """(ours, the peer's); v1.1 has a head of its own, as trained checkpoints have."""
    settings = {**SMALL, **VERSIONS[version], **changes}
    torch.manual_seed(0)
    peer = getattr(transformers, name)._from_config(transformers.T5Config(**settings), attn_implementation="eager").eval()
    if version == "v1.1" and hasattr(peer, "lm_head"):
        peer.lm_head.weight = torch.nn.Parameter(torch.randn_like(peer.lm_head.weight))
    with torch.no_grad():
        for parameter_name, parameter in peer.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            if "relative_attention_bias" in parameter_name:
                parameter.copy_(torch.randn_like(parameter))
    ours = _class(name)(T5Config(**settings)).eval()
    ours.load_state_dict(peer.state_dict(), strict=True)
    return ours, peer


def _class(name):
    for module in ("modeling", "heads"):
        found = getattr(importlib.import_module(f"transept_t5.{module}"), name, None)
        if found is not None:
            return found
    raise LookupError(name)


@pytest.fixture
def t5_pair():
    return make_pair


@pytest.fixture(scope="session")
def generators():
    """By version, (ours, the peer's) for generation; not to be changed."""
    return {version: make_pair("T5ForConditionalGeneration", version) for version in VERSIONS}


@pytest.fixture
def t5_config():
    """`t5_config(version, **changes)`: a small configuration of ours."""
    return lambda version="v1.0", **changes: T5Config(**{**SMALL, **VERSIONS[version], **changes})


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def ids():
    """(batch, seq) token ids without padding and ends."""

    def make(batch=2, length=11, seed=0):
        return torch.randint(2, SMALL["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture
def assert_equal_to_scale():
    def check(found, expected, tolerance=1e-5):
        assert found.shape == expected.shape
        found, expected = found.detach().float(), expected.detach().float()
        assert float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-2)) <= tolerance

    return check
