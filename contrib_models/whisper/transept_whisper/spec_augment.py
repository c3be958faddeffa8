"""SpecAugment (https://arxiv.org/abs/1904.08779): spans of a spectrogram are hidden while training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transept.errors import ConfigError

__all__ = ["masked_features", "random_spans"]


def masked_features(input_features: Tensor, config: Any, attention_mask: Tensor | None = None) -> Tensor:
    """A copy of (batch, bins, frames) with spans of frames, and of bins, set to 0 as the configuration's `mask_…` say.

    Args:
        attention_mask: (batch, frames), 0 at padding, in which no span begins.
    """
    batch, bins, frames = input_features.shape
    hidden = torch.zeros(batch, bins, frames, dtype=torch.bool)
    if config.mask_time_prob > 0:
        lengths = [frames] * batch if attention_mask is None else attention_mask.sum(-1).tolist()
        spans = random_spans(frames, lengths, config.mask_time_prob, config.mask_time_length, config.mask_time_min_masks)
        hidden |= spans[:, None, :]
    if config.mask_feature_prob > 0:
        settings = (config.mask_feature_prob, config.mask_feature_length, config.mask_feature_min_masks)
        hidden |= random_spans(bins, [bins] * batch, *settings)[:, :, None]
    return input_features.masked_fill(hidden.to(input_features.device), 0.0)


def random_spans(size: int, lengths: list[int], probability: float, span: int, least: int) -> Tensor:
    """(rows, size) bools, True in spans that begin at random places, which may overlap.

    Args:
        lengths: how much of each row counts.
        probability: the part of a row that is covered where no two spans overlap.
        least: spans in each row at least, where they fit.

    Raises:
        ConfigError: a span is longer than a row.
    """
    if span > size:
        raise ConfigError(
            f"A span of SpecAugment is {span} long, and a row {size}: shorten it, or switch `apply_spec_augment` off."
        )
    rounding = float(torch.rand(()))  # one draw for all rows: how a fraction of a span is rounded
    hidden = torch.zeros(len(lengths), size, dtype=torch.bool)
    for row, length in enumerate(lengths):
        starts = max(int(length) - span + 1, 0)
        wanted = max(int(probability * length / span + rounding), least)
        count = min(wanted, size // span, starts)
        for start in torch.randperm(starts)[:count].tolist():
            hidden[row, start : start + span] = True
    return hidden
