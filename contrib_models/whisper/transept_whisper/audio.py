"""Recordings as waveforms: WAV files, channels, sampling rates."""

from __future__ import annotations

import io
import math
import os
import wave
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transept.errors import InputError

__all__ = ["mono", "read_wav", "resample"]

_CROSSINGS = 16
"""Of the sinc to each side: what the filter sees of the neighbours."""
_ROLLOFF = 0.95
"""The part of the lower rate's band that passes: the rest is where the filter falls."""
_BLOCK = 1 << 16
_MOST_CHANNELS = 8


def read_wav(source: str | os.PathLike[str] | bytes) -> tuple[Tensor, int]:
    """(samples,) float32 from -1 to 1, the mean of the channels, and samples a second, of a WAV file (PCM of 8 to 32 bits).

    Raises:
        InputError: there is no such file, or it is none that Python's `wave` reads.
    """
    name = "the bytes" if isinstance(source, bytes) else f"`{os.fspath(source)}`"
    if not isinstance(source, bytes):
        if os.fspath(source).startswith(("http://", "https://")):
            raise InputError(f"{name} is an address: download it first.")
        if not Path(source).is_file():
            raise InputError(f"There is no file {name}.")
    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as error:
        raise InputError(
            f"{name} is no WAV file with PCM samples, which is what is read: {error}. Convert it, or pass an array."
        ) from error
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if not raw or rate <= 0:
        raise InputError(f"{name} holds no sound.")
    return _samples(raw, width).view(-1, channels).mean(1), rate


def _samples(raw: bytes, width: int) -> Tensor:
    """Float32 (samples,) from little-endian integers of so many bytes; those of one byte have no sign."""
    octets = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    if width == 1:
        return (octets.float() - 128) / 128
    if width == 2:
        return octets.view(torch.int16).float() / (1 << 15)
    wide = torch.zeros(len(octets) // width, 4, dtype=torch.uint8)
    wide[:, 4 - width :] = octets.view(-1, width)  # 24 bits, moved to the upper end of 32
    return (wide.flatten().view(torch.int32).double() / (1 << 31)).float()


def mono(samples: Any) -> Tensor:
    """(samples,) from one channel, or the mean of several, (channels, samples). Raises: InputError"""
    try:
        found = torch.as_tensor(samples)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"The audio is no array of numbers: {error}") from error
    if found.dim() == 2 and 1 <= found.shape[0] <= _MOST_CHANNELS and found.is_floating_point():
        return found.mean(0)
    if found.dim() != 1:
        raise InputError(
            f"The audio is {found.dtype} of shape {tuple(found.shape)}: it must be floats, (samples,), or (channels, samples) with at most "
            f"{_MOST_CHANNELS} channels. Several recordings are a list of arrays."
        )
    return found


def resample(samples: Tensor, rate: int, wanted: int) -> Tensor:
    """(samples,) at `wanted` samples a second, from `rate`: the sum of sincs under a Hann window, cut off below the lower band.

    Raises:
        InputError: a rate that is no whole number from 1 up.
    """
    for each in (rate, wanted):
        if isinstance(each, bool) or not isinstance(each, int) or each < 1:
            raise InputError(f"`sampling_rate` is a whole number of samples a second, from 1 up, not {each!r}.")
    if rate == wanted or not len(samples):
        return samples
    band = _ROLLOFF * min(1.0, wanted / rate)  # of the input's
    reach = math.ceil(_CROSSINGS / band)
    padded = torch.nn.functional.pad(samples.float(), (reach, reach + 1))
    taps = torch.arange(-reach + 1, reach + 1)
    length = -(-len(samples) * wanted // rate)
    parts = []
    for start in range(0, length, _BLOCK):
        places = torch.arange(start, min(start + _BLOCK, length)) * rate
        whole, rest = places // wanted, (places % wanted).float() / wanted  # the sample before, and how far behind it
        distance = (taps - rest[:, None]) * band  # (block, taps), in crossings
        window = torch.cos((distance / _CROSSINGS).clamp(-1, 1) * (math.pi / 2)).square()
        weights = torch.sinc(distance) * window * band
        parts.append((padded[whole[:, None] + taps + reach] * weights).sum(1))
    return torch.cat(parts)
