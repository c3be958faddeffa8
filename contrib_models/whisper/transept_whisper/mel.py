"""The mel scale and log-mel spectrograms, as Whisper hears (https://arxiv.org/abs/2212.04356, section 2.2)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

__all__ = ["log_mel_spectrogram", "mel_filters"]

HIGHEST_FREQUENCY = 8000.0
"""In hertz: the upper end of the last filter."""

# Slaney's scale (Auditory Toolbox, 1998): linear to 1000 Hz, which is mel 15, then logarithmic, 27 mels for a factor of 6.4
_HERTZ_A_MEL, _BREAK_HERTZ, _BREAK_MEL = 200 / 3, 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27

_FLOOR, _RANGE = 1e-10, 8.0
"""The least energy of a bin; how far below the loudest one the quietest may be, in powers of ten."""


def _to_mel(hertz: float) -> float:
    return hertz / _HERTZ_A_MEL if hertz < _BREAK_HERTZ else _BREAK_MEL + math.log(hertz / _BREAK_HERTZ) / _LOG_STEP


def _to_hertz(mels: Tensor) -> Tensor:
    above = _BREAK_HERTZ * torch.exp(_LOG_STEP * (mels - _BREAK_MEL))
    return torch.where(mels < _BREAK_MEL, mels * _HERTZ_A_MEL, above)


@functools.lru_cache(maxsize=8)
def mel_filters(bins: int, n_fft: int, sampling_rate: int) -> Tensor:
    """Triangular filters from 0 to 8000 Hz, each of area one: float32 (bins, 1 + n_fft // 2). Shared, so not to be changed."""
    edges = _to_hertz(torch.linspace(0.0, _to_mel(HIGHEST_FREQUENCY), bins + 2, dtype=torch.float64))
    frequencies = torch.linspace(0.0, sampling_rate // 2, 1 + n_fft // 2, dtype=torch.float64)
    slopes = edges[:, None] - frequencies  # (bins + 2, frequencies)
    widths = edges.diff()[:, None]
    rising, falling = -slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]
    triangles = torch.minimum(rising, falling).clamp(min=0.0)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).float()


def log_mel_spectrogram(waveforms: Tensor, *, bins: int, n_fft: int, hop_length: int, sampling_rate: int) -> Tensor:
    """(batch, bins, samples // hop_length) from float32 (batch, samples): energies' logarithms, scaled to about -1 to 1.

    Each row is cut off eight powers of ten below its loudest bin.
    """
    window = torch.hann_window(n_fft, device=waveforms.device)
    spectrum = torch.stft(waveforms, n_fft, hop_length, window=window, return_complex=True)[..., :-1]
    energies = mel_filters(bins, n_fft, sampling_rate).to(waveforms.device) @ spectrum.abs().square()
    logarithms = energies.clamp(min=_FLOOR).log10()
    loudest = logarithms.amax(dim=(-2, -1), keepdim=True)
    return (torch.maximum(logarithms, loudest - _RANGE) + 4.0) / 4.0
