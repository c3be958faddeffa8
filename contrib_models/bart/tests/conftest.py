"""Small BART checkpoints with random weights: the peer's model, and ours with the same weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transept_tokenizers.byte_bpe import byte_characters

import transept

SMALL = {
    "vocab_size": 97,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 56,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 40,
    "init_std": 0.25,
}
MERGES = (("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("o", "r"), ("Ġw", "or"), ("l", "d"), ("Ġwor", "ld"))


def write_small(folder: Path) -> int:
    """The special tokens at BART's ids, the bytes, a few merges, and the mask at the end; returns how many tokens there are."""
    learned = [*byte_characters().values(), *("".join(pair) for pair in MERGES)]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *learned, "<mask>"]
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(tokens)}), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return len(tokens)


@pytest.fixture(scope="session")
def write_small_vocabulary() -> Callable[[Path], int]:
    """`write_small_vocabulary(folder)` writes `vocab.json` and `merges.txt`."""
    return write_small


def make_pair(name: str, **changes: Any) -> tuple[Any, Any]:
    """(ours, the peer's)"""
    settings = {**SMALL, **changes}
    torch.manual_seed(0)
    peer = getattr(transformers, name)._from_config(transformers.BartConfig(**settings), attn_implementation="eager").eval()
    with torch.no_grad():
        for tensor_name, tensor in [*peer.named_parameters(), *peer.named_buffers()]:
            if tensor.dim() == 1 or tensor_name == "final_logits_bias":
                tensor.add_(0.2 * torch.randn_like(tensor))
    ours = getattr(transept, name)(transept.BartConfig(**settings)).eval()
    ours.load_state_dict(peer.state_dict(), strict=True)
    return ours, peer


@pytest.fixture
def bart_pair() -> Callable[..., tuple[Any, Any]]:
    return make_pair


@pytest.fixture(scope="session")
def generators() -> tuple[Any, Any]:
    """(ours, the peer's) for generation; not to be changed. Their texts depend on the prompt, and don't repeat one word."""
    pair = make_pair("BartForConditionalGeneration", tie_word_embeddings=False, init_std=0.15)
    with torch.no_grad():
        for model in pair:
            model.model.decoder.embed_positions.weight.mul_(6)
            model.final_logits_bias.mul_(0.15)
    return pair


@pytest.fixture
def bart_config() -> Callable[..., Any]:
    """`bart_config(**changes)`: a small configuration of ours."""
    return lambda **changes: transept.BartConfig(**{**SMALL, **changes})


@pytest.fixture
def ids() -> Callable[..., torch.Tensor]:
    """(batch, seq) token ids without special ones."""

    def make(batch: int = 2, length: int = 11, seed: int = 0) -> torch.Tensor:
        return torch.randint(4, SMALL["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture
def assert_equal_to_scale() -> Callable[..., None]:
    def check(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
        assert found.shape == expected.shape
        found, expected = found.detach().float(), expected.detach().float()
        assert float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-2)) <= tolerance

    return check
