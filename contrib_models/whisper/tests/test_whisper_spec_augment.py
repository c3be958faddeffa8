"""SpecAugment hides spans while training, and only then."""

from __future__ import annotations

import pytest
import torch
from transept_whisper.configuration import WhisperConfig
from transept_whisper.modeling import WhisperModel
from transept_whisper.spec_augment import masked_features, random_spans

from transept.errors import ConfigError


def runs(row: torch.Tensor) -> list[int]:
    """Lengths of the spans of True."""
    edges = torch.diff(row.int(), prepend=torch.tensor([0]), append=torch.tensor([0]))
    return ((edges == -1).nonzero() - (edges == 1).nonzero()).flatten().tolist()


def test_spans_cover_about_the_part_that_is_asked_for() -> None:
    torch.manual_seed(0)
    hidden = random_spans(1000, [1000] * 40, 0.2, 10, 0)
    assert all(length >= 10 for row in hidden for length in runs(row))
    assert 0.15 < hidden.float().mean() <= 0.2


def test_at_least_so_many_spans_and_none_in_padding() -> None:
    torch.manual_seed(0)
    hidden = random_spans(100, [100, 30], 0.0, 10, 2)
    assert int(hidden[0].sum()) > 10
    assert not hidden[1, 30:].any()
    assert not random_spans(100, [5], 0.5, 10, 2).any()
    with pytest.raises(ConfigError, match="a row 8"):
        random_spans(8, [8], 0.1, 10, 0)


def test_both_axes_are_hidden_and_the_input_is_left_alone() -> None:
    torch.manual_seed(0)
    config = WhisperConfig(apply_spec_augment=True, mask_time_prob=0.3, mask_feature_prob=0.3, mask_feature_length=4)
    features = torch.ones(2, 80, 200)
    found = masked_features(features, config)
    assert features.all()
    assert (found == 0).all(1).any(1).all()
    assert (found == 0).all(2).any(1).all()
    assert found.sum() > 0


def test_only_while_training_and_only_where_asked_for() -> None:
    shape = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    rest = {"vocab_size": 20, "num_mel_bins": 12, "max_source_positions": 20, "pad_token_id": 0, "mask_time_prob": 0.5}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    ids, features = torch.tensor([[1, 2]]), torch.randn(1, 12, 40)
    for wanted in (True, False):
        torch.manual_seed(0)
        model = WhisperModel(WhisperConfig(**shape, **rest, **heads, apply_spec_augment=wanted))

        def states(model: WhisperModel = model) -> torch.Tensor:
            return model(features, decoder_input_ids=ids).encoder_last_hidden_state

        model.eval()
        plain = states()
        assert torch.equal(states(), plain)
        model.train()
        assert torch.equal(states(), plain) != wanted
