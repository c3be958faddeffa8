"""What `generate` keeps of each recording and of the call, and how a window's text is judged."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transept.errors import GenerationError, InputError
from transept.generation.configuration import token_ids

from .timestamps import Segment

__all__ = ["Plan", "Recording", "check_features", "joined", "mean_logprob", "packing_ratio", "sound_frames", "without_end"]


@dataclass
class Recording:
    """A recording in progress. Frames are of its features, two to a position of the encoder."""

    frames: int
    seek: int = 0
    segments: list[Segment] = field(default_factory=list)
    follow: bool = False
    """The next window begins with what was said so far."""

    def piece(self, features: Tensor, window: int) -> Tensor:
        """The next window of (bins, frames), filled with 0: (bins, window)."""
        found = features[:, self.seek : min(self.frames, self.seek + window)]
        return F.pad(found, (0, window - found.shape[-1]))


@dataclass
class Plan:
    """What holds for every window of a call."""

    config: Any
    temperatures: Sequence[float | None]
    timestamps: bool
    timestamp_begin: int
    compression_ratio: float | None
    logprob: float | None
    no_speech: float | None
    prompt: list[int]
    prompt_always: bool
    keywords: dict[str, Any]
    """Of `generate`, for the model and the strategy."""


def check_features(input_features: Any, bins: int) -> None:
    """Raises InputError for what is no (batch, bins, frames) of floats."""
    if not isinstance(input_features, Tensor) or input_features.dim() != 3 or not input_features.is_floating_point():
        found = (
            f"{input_features.dtype} of shape {tuple(input_features.shape)}"
            if isinstance(input_features, Tensor)
            else "no tensor"
        )
        raise InputError(
            f"`input_features` is {found}: it must be floats, (batch, {bins}, frames). `WhisperFeatureExtractor` makes them of waveforms."
        )
    if input_features.shape[1] != bins or 0 in input_features.shape:
        raise InputError(
            f"`input_features` has shape {tuple(input_features.shape)}, and the model hears (batch, {bins} mel bins, frames): take the "
            "feature extractor of this checkpoint."
        )


def sound_frames(frames: int, batch: int, window: int, attention_mask: Tensor | None) -> list[int]:
    """How many frames of each recording are sound. Raises: GenerationError"""
    if batch == 1 or frames <= window:
        return [frames] * batch
    if attention_mask is None:
        raise GenerationError(
            "A batch of long recordings needs `attention_mask`, which says how long each one is: pass "
            "`return_attention_mask=True` to the feature extractor."
        )
    if attention_mask.shape != (batch, frames):
        raise GenerationError(
            f"`attention_mask` has shape {tuple(attention_mask.shape)}, and the features need {(batch, frames)}."
        )
    return [int(count) for count in attention_mask.sum(-1)]


def without_padding(tokens: Tensor, config: Any) -> Tensor:
    """Tokens (length,) without what a shorter row was filled with; its end stays."""
    ends, ids = token_ids(config.eos_token_id), tokens.tolist()
    padding = config.pad_token_id if config.pad_token_id is not None else (ends or [None])[0]
    length = len(ids)
    while length and ids[length - 1] == padding:
        length -= 1
    return tokens[: length + 1] if padding in ends else tokens[:length]


def without_end(tokens: Tensor, config: Any) -> Tensor:
    """Tokens (length,) without an end-of-sequence token at the end."""
    return tokens[:-1] if len(tokens) and int(tokens[-1]) in token_ids(config.eos_token_id) else tokens


def packing_ratio(tokens: Tensor, vocab_size: int) -> float:
    """Bytes of the tokens to a byte of them packed by zlib."""
    width = int(math.log2(vocab_size) / 8) + 1
    raw = b"".join(token.to_bytes(width, "little") for token in tokens.tolist())
    return len(raw) / len(zlib.compress(raw))


def mean_logprob(outputs: Any, row: int, tokens: Tensor, temperature: float | None) -> float:
    """The mean log probability of a row's tokens, its end among them, before the temperature."""
    if getattr(outputs, "sequences_scores", None) is not None:
        return float(outputs.sequences_scores[row])
    scores = torch.stack([step[row] for step in outputs.scores])[: len(tokens)] * (temperature or 1.0)
    tokens = tokens[-len(scores) :]
    chosen = scores.float().log_softmax(-1).gather(-1, tokens[:, None])
    return float(chosen.sum() / max(len(tokens), 1))


def joined(recordings: list[Recording], padding: int | None, device: torch.device) -> Tensor:
    """The tokens of each recording's segments, LongTensor (batch, length), filled on the right."""
    rows = [torch.cat([segment.tokens for segment in each.segments] or [torch.empty(0)]).long() for each in recordings]
    return torch.nn.utils.rnn.pad_sequence([row.to(device) for row in rows], batch_first=True, padding_value=padding or 0)
