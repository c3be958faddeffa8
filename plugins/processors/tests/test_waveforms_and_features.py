"""Waveforms are checked before anything is computed; rows are padded; features are a mapping that models take."""

from __future__ import annotations

import copy
import pickle

import numpy
import pytest
import torch
from transept_processors import BatchFeature, SequenceFeatureExtractor

from transept.errors import InputError


class Ear(SequenceFeatureExtractor):
    model_input_names = ["input_values"]  # noqa: RUF012


@pytest.fixture
def ear() -> Ear:
    return Ear(sampling_rate=100)


WAVE = numpy.linspace(-1, 1, 7)


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (WAVE, 1),
        (WAVE.tolist(), 1),
        (torch.tensor(WAVE), 1),
        ([WAVE, WAVE[:3]], 2),
        ([WAVE.tolist(), WAVE.tolist()], 2),
        (numpy.stack([WAVE, WAVE]), 2),
        (torch.zeros(3, 5), 3),
    ],
)
def test_one_row_or_several_in_any_form(ear, given, rows) -> None:
    found = ear.waveforms(given, 100)
    assert len(found) == rows
    assert {row.dtype for row in found} == {torch.float32}
    assert all(row.dim() == 1 for row in found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "empty"),
        (numpy.zeros(0), "Row 0 of the audio is empty"),
        (numpy.zeros((2, 3, 2)), "one channel"),
        (numpy.array([1, 20000], dtype=numpy.int16), "Divide by 32768"),
        (numpy.array([0.0, numpy.nan]), "NaN or infinity"),
        ([WAVE, WAVE[:0]], "Row 1 of the audio is empty"),
        (["a", "b"], "samples are floats"),
    ],
)
def test_what_is_no_audio_is_refused(ear, given, said) -> None:
    with pytest.raises(InputError, match=said):
        ear.waveforms(given, 100)


def test_another_rate_is_refused(ear) -> None:
    with pytest.raises(InputError, match="44100 samples a second and `Ear` takes 100: resample"):
        ear.waveforms(WAVE, 44100)
    assert len(ear.waveforms(WAVE, None)) == 1


def test_rows_are_padded_on_their_side(ear) -> None:
    rows = {"input_values": [numpy.ones(2), numpy.ones(4)]}
    found = ear.pad(rows, return_tensors="pt")
    assert found.input_values.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert found.attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    left = Ear(padding_side="left", padding_value=9.0).pad(rows, padding="max_length", max_length=5, return_tensors="np")
    assert left["input_values"].tolist() == [[9, 9, 9, 1, 1], [9, 1, 1, 1, 1]]
    cut = ear.pad(rows, padding="max_length", max_length=3, truncation=True, return_tensors="pt")
    assert cut.input_values.shape == (2, 3)
    assert ear.pad(rows, pad_to_multiple_of=8, return_tensors="pt").input_values.shape == (2, 8)


def test_impossible_padding_is_refused(ear) -> None:
    rows = {"input_values": [numpy.ones(2), numpy.ones(4)]}
    with pytest.raises(InputError, match="need `max_length`"):
        ear.pad(rows, padding="max_length")
    with pytest.raises(InputError, match="none of"):
        ear.pad(rows, padding="long")
    with pytest.raises(InputError, match=r"`input_values` cannot be one tensor.*pad"):
        ear.pad(rows, padding=False, return_tensors="pt")


def test_features_are_a_mapping_with_attributes() -> None:
    features = BatchFeature({"pixel_values": numpy.zeros((1, 2)), "ids": [[1, 2]]}, "pt")
    assert features.pixel_values is features["pixel_values"]
    assert dict(**features).keys() == {"pixel_values", "ids"}
    moved = features.to(torch.float16)
    assert moved.pixel_values.dtype == torch.float16
    assert moved.ids.dtype == torch.int64
    for twin in (copy.deepcopy(features), pickle.loads(pickle.dumps(features))):
        assert torch.equal(twin.ids, features.ids)
    with pytest.raises(AttributeError, match="pixel_values"):
        _ = features.pixel_value
    with pytest.raises(InputError, match="'tf'"):
        BatchFeature({"a": [1]}, "tf")
