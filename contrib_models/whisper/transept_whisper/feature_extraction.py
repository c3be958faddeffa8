"""Whisper's feature extractor: from waveforms to log-mel spectrograms of 30 seconds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transept_processors import BatchFeature, SequenceFeatureExtractor
from transept_processors.settings import LOCATION_OPTIONS

from transept.configuration import PretrainedConfig
from transept.errors import CheckpointNotFoundError, InputError
from transept.files import Location, open_location

from .mel import log_mel_spectrogram

__all__ = ["WhisperFeatureExtractor"]

_DERIVED = ("n_samples", "nb_max_frames", "mel_filters")
"""What files also hold, and follows from the settings."""


class WhisperFeatureExtractor(SequenceFeatureExtractor):
    """From waveforms to `input_features`.

    Args:
        feature_size: mel bins.
        sampling_rate: in hertz.
        hop_length, n_fft: samples from frame to frame, and in a frame.
        chunk_length: seconds that a row is filled or cut to.
        padding_value: of the samples that are added: silence.
        dither: standard deviation of noise that is added to samples; 0: none.
        return_attention_mask: say which frames hold sound.
    """

    model_input_names: ClassVar[list[str]] = ["input_features"]

    def __init__(
        self,
        *,
        feature_size: int = 80,
        sampling_rate: int = 16000,
        hop_length: int = 160,
        chunk_length: int = 30,
        n_fft: int = 400,
        padding_value: float = 0.0,
        dither: float = 0.0,
        return_attention_mask: bool = False,
        other_settings: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            other_settings={name: value for name, value in (other_settings or {}).items() if name not in _DERIVED},
            **settings,
        )
        self.hop_length, self.chunk_length, self.n_fft, self.dither = hop_length, chunk_length, n_fft, dither
        sizes = (feature_size, sampling_rate, hop_length, chunk_length, n_fft)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise InputError(
                "`feature_size`, `sampling_rate`, `hop_length`, `chunk_length` and `n_fft` are whole numbers from 1 up, not "
                f"{', '.join(map(repr, sizes))}."
            )

    @property
    def n_samples(self) -> int:
        """Samples that a row is filled or cut to."""
        return self.chunk_length * self.sampling_rate

    @property
    def nb_max_frames(self) -> int:
        """Frames of such a row."""
        return self.n_samples // self.hop_length

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str] | Location, **overrides: Any) -> Self:
        """The settings of a checkpoint. One that has none gets those that all Whispers have, with its model's mel bins.

        Raises: as `SavedSettings.from_pretrained`.
        """
        where = {name: overrides.pop(name) for name in LOCATION_OPTIONS if name in overrides}
        location = open_location(pretrained_model_name_or_path, **where)
        try:
            return super().from_pretrained(location, **overrides)
        except CheckpointNotFoundError:
            values, _ = PretrainedConfig.get_config_dict(location)
            if values.get("model_type") != "whisper":
                raise
            return cls.from_dict({"feature_size": values.get("num_mel_bins", 80)}, where=location.name, **overrides)

    def __call__(
        self,
        raw_speech: Any,
        truncation: bool = True,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        padding: bool | str | None = "max_length",
        max_length: int | None = None,
        sampling_rate: int | None = None,
        do_normalize: bool | None = None,
        device: str | torch.device | None = "cpu",
    ) -> BatchFeature:
        """`input_features` (batch, mel bins, frames), float32, a frame each 10 ms; and `attention_mask` (batch, frames) if wanted.

        Args:
            raw_speech: one waveform or several: floats from -1 to 1, one channel (see `SequenceFeatureExtractor.waveforms`).
            truncation: cut rows to `max_length`.
            padding: "max_length": to `max_length`; True or "longest": to the longest row; False: not at all.
            max_length: in samples; None: 30 seconds.
            sampling_rate: of `raw_speech`, in hertz; another than the model's is refused.
            do_normalize: bring each row to mean 0 and variance 1 first.
            device: where to compute; what is returned is on the CPU.

        Raises:
            InputError: audio of another rate, shape or dtype, empty, or shorter than half a frame.
        """
        wanted = self.return_attention_mask if return_attention_mask is None else return_attention_mask
        padded = self.pad(
            {"input_features": self.waveforms(raw_speech, sampling_rate)},
            padding=False if padding is None else padding,
            max_length=max_length or self.n_samples,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=True,
        )
        rows, masks = padded["input_features"], padded["attention_mask"]
        if do_normalize:
            rows = [self._normalized(row, mask) for row, mask in zip(rows, masks, strict=True)]
        found: dict[str, Any] = {"input_features": self._spectrograms(rows, device or "cpu")}
        if wanted:
            found["attention_mask"] = [mask[:: self.hop_length][: len(mask) // self.hop_length] for mask in masks]
        return BatchFeature(found, return_tensors)

    def _normalized(self, row: Tensor, mask: Tensor) -> Tensor:
        sound = row[mask.bool()]
        scaled = (row - sound.mean()) / (sound.var(correction=0) + 1e-7).sqrt()
        return torch.where(mask.bool(), scaled, self.padding_value)

    def _spectrograms(self, rows: list[Tensor], device: str | torch.device) -> list[Tensor]:
        """(mel bins, frames) a row."""
        shortest = min(len(row) for row in rows)
        if shortest <= self.n_fft // 2 or shortest < self.hop_length:
            raise InputError(
                f"A row of the audio has {shortest} samples, less than half a frame of {self.n_fft}: leave `padding` at 'max_length'."
            )
        equal = all(len(row) == shortest for row in rows)
        made: list[Tensor] = []
        for group in [torch.stack(rows)] if equal else [row[None] for row in rows]:
            waveforms = group.to(device)
            if self.dither:
                waveforms = waveforms + self.dither * torch.randn_like(waveforms)
            spectrograms = log_mel_spectrogram(
                waveforms,
                bins=self.feature_size,
                n_fft=self.n_fft,
                hop_length=self.hop_length,
                sampling_rate=self.sampling_rate,
            )
            made += spectrograms.cpu().unbind(0)
        return made
