"""WAV files of every width, channels, rates; pieces that overlap."""

from __future__ import annotations

import math
import wave
from pathlib import Path

import pytest
import torch
from transept_whisper.audio import mono, read_wav, resample
from transept_whisper.pipeline import _Said, joined

from transept.errors import InputError


def tone(hertz: float, rate: int, seconds: float = 0.5) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(int(rate * seconds)).double() / rate).float()


def write(path: Path, samples: torch.Tensor, width: int, rate: int = 8000) -> Path:
    """(channels, samples) as PCM of so many bytes."""
    whole = (samples.double() * (1 << (8 * width - 1))).round().long().clamp(max=(1 << (8 * width - 1)) - 1)
    whole = whole + 128 if width == 1 else whole
    raw = b"".join(int(value).to_bytes(width, "little", signed=width > 1) for value in whole.T.flatten())
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_files_of_every_width(tmp_path, width, channels) -> None:
    samples = torch.stack([tone(300, 8000, 0.05), -0.5 * tone(500, 8000, 0.05)])[:channels]
    path = write(tmp_path / "a.wav", samples, width)
    for source in (path, str(path), path.read_bytes()):
        found, rate = read_wav(source)
        assert rate == 8000
        assert found.dtype == torch.float32
        assert (found - samples.mean(0)).abs().max() <= 1.01 / (1 << (8 * width - 1))


def test_files_that_are_no_wav_are_refused(tmp_path) -> None:
    path = write(tmp_path / "a.wav", tone(300, 8000)[None], 2)
    whole = path.read_bytes()
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "header.wav").write_bytes(whole[:20])
    (tmp_path / "empty.wav").write_bytes(write(tmp_path / "e.wav", torch.zeros(1, 0), 2).read_bytes())
    (tmp_path / "float.wav").write_bytes(whole[:20] + (3).to_bytes(2, "little") + whole[22:])
    for name, said in {
        "text.wav": "no WAV",
        "header.wav": "no WAV",
        "empty.wav": "no sound",
        "float.wav": "no WAV",
        "missing.wav": "no file",
    }.items():
        with pytest.raises(InputError, match=said):
            read_wav(tmp_path / name)
    with pytest.raises(InputError, match="download"):
        read_wav("https://example.org/a.wav")
    cut, _ = read_wav(whole[:-1])
    assert len(cut) == len(tone(300, 8000)) - 1


def test_channels_are_averaged_and_other_shapes_refused() -> None:
    assert torch.equal(mono(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), torch.tensor([0.5, 0.5]))
    assert mono([0.0, 0.5]).tolist() == [0.0, 0.5]
    for wrong in (torch.zeros(9, 100), torch.zeros(100, 2), torch.zeros(1, 2, 3), torch.zeros(2, 5, dtype=torch.int16)):
        with pytest.raises(InputError, match="samples"):
            mono(wrong)
    with pytest.raises(InputError, match="no array"):
        mono(object())


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 16000), (22050, 16000), (44100, 16000), (48000, 16000), (16001, 16000)])
def test_a_tone_is_the_same_tone_at_another_rate(rate, wanted) -> None:
    found = resample(tone(440, rate), rate, wanted)
    expected = tone(440, wanted)
    assert len(found) == -(-len(tone(440, rate)) * wanted // rate)
    middle = slice(200, min(len(found), len(expected)) - 200)
    assert (found[middle] - expected[middle]).abs().max() < 2e-3


def test_what_the_lower_rate_cannot_hold_is_left_out() -> None:
    found = resample(tone(10_000, 44_100), 44_100, 16_000)
    assert found[200:-200].abs().max() < 5e-3


def test_rates_that_are_none_are_refused() -> None:
    for rate in (0, -1, 1.5, True, "fast"):
        with pytest.raises(InputError, match="sampling_rate"):
            resample(torch.zeros(9), rate, 16000)
    assert resample(torch.zeros(9), 16000, 16000).shape == (9,)


def said(tokens: list[int], start: float = 0.0) -> list[_Said]:
    return [_Said(token, start, start + 1) for token in tokens]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3, 4], [3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
        ([1, 2, 3, 9], [3, 4, 5, 6], [1, 2, 3, 9, 3, 4, 5, 6]),  # one equal token is chance
        ([1, 2, 3, 4, 9], [8, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),  # so is the start of the next
        ([1, 2, 3, 4, 9], [2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),  # the end of a piece is misheard
        ([], [1, 2], [1, 2]),
        ([1, 2], [], [1, 2]),
    ],
)
def test_pieces_are_joined_where_they_agree(left, right, expected) -> None:
    assert [each.token for each in joined(said(left), said(right), 10)] == expected


def test_no_more_overlaps_than_can() -> None:
    found = joined(said([1, 2, 3, 4]), said([1, 2, 3, 4]), 2)
    assert [each.token for each in found] == [1, 2, 3, 4, 1, 2, 3, 4]


def test_what_is_said_twice_is_not_heard_twice() -> None:
    early, late = said([1, 2, 3], start=0.0), said([1, 2, 3], start=5.0)
    assert joined(early, late, 10) == [*early, *late]
