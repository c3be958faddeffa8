"""Waveforms become the peer's log-mel spectrograms; what is no waveform is refused."""

from __future__ import annotations

import json

import pytest
import torch
from transept_whisper.configuration import WhisperConfig
from transept_whisper.feature_extraction import WhisperFeatureExtractor
from transept_whisper.mel import mel_filters
from transept_whisper.modeling import WhisperModel

from transept import AutoFeatureExtractor, AutoProcessor
from transept.errors import CheckpointNotFoundError, ConfigError, InputError, UnknownArgumentError

numpy = pytest.importorskip("numpy")
RANDOM = numpy.random.default_rng(0)
SOUND = [(0.1 * RANDOM.standard_normal(count)).astype(numpy.float32) for count in (48_077, 90_000, 5000)]


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("transformers").WhisperFeatureExtractor


SETTINGS = {
    "as it is": {},
    "128 bins": {"feature_size": 128},
    "short chunks": {"chunk_length": 4},
    "small frames": {"hop_length": 80, "n_fft": 256, "feature_size": 24},
    "8 kHz": {"sampling_rate": 8000, "feature_size": 40},
}
CALLS = {
    "filled": {},
    "longest": {"padding": "longest", "return_attention_mask": True},
    "normalised": {"do_normalize": True, "return_attention_mask": True},
    "of one length": {"max_length": 33_333, "return_attention_mask": True},
    "of a multiple": {"padding": "longest", "truncation": False, "pad_to_multiple_of": 1000, "return_attention_mask": True},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", SETTINGS)
def test_features_are_the_peers(peer, name, call) -> None:
    arguments = {"sampling_rate": SETTINGS[name].get("sampling_rate", 16000), "return_tensors": "pt", **CALLS[call]}
    expected = peer(**SETTINGS[name])(SOUND, **arguments)
    found = WhisperFeatureExtractor(**SETTINGS[name])(SOUND, **arguments)
    assert found["input_features"].dtype == torch.float32
    assert found["input_features"].shape == expected["input_features"].shape
    assert (found["input_features"] - expected["input_features"]).abs().max() <= 1e-5
    assert ("attention_mask" in found) == ("return_attention_mask" in arguments)
    if "attention_mask" in found:
        assert torch.equal(found["attention_mask"].int(), expected["attention_mask"].int())


def test_filters_are_the_peers() -> None:
    theirs = pytest.importorskip("transformers.audio_utils").mel_filter_bank(
        201, 80, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney"
    )
    assert numpy.abs(mel_filters(80, 400, 16000).numpy().T - theirs).max() < 1e-8


def test_every_form_of_one_waveform_gives_the_same() -> None:
    extract = WhisperFeatureExtractor(chunk_length=3)
    expected = extract(SOUND[2], return_tensors="pt")["input_features"]
    forms = [torch.tensor(SOUND[2]), SOUND[2].tolist(), [SOUND[2]], SOUND[2][None], SOUND[2].astype(numpy.float64)]
    for form in forms:
        assert torch.equal(extract(form, return_tensors="pt")["input_features"], expected)
    assert isinstance(extract(SOUND[2], return_tensors="np")["input_features"], numpy.ndarray)


def test_a_batch_is_its_recordings_one_by_one() -> None:
    extract = WhisperFeatureExtractor(chunk_length=6)
    batch = extract(SOUND, return_tensors="pt")["input_features"]
    for row, sound in zip(batch, SOUND, strict=True):
        assert torch.equal(row, extract(sound, return_tensors="pt")["input_features"][0])
    loose = extract(SOUND, padding=False, truncation=False)["input_features"]
    assert [row.shape[1] for row in loose] == [len(sound) // 160 for sound in SOUND]


def test_dither_is_drawn_and_small() -> None:
    torch.manual_seed(0)
    plain = WhisperFeatureExtractor(chunk_length=1)(SOUND[2], return_tensors="pt")["input_features"]
    noisy = WhisperFeatureExtractor(chunk_length=1, dither=1e-4)(SOUND[2], return_tensors="pt")["input_features"]
    assert not torch.equal(plain, noisy)
    assert (plain - noisy)[:, :, :30].abs().max() < 0.1  # where there is sound


@pytest.mark.parametrize(
    ("sound", "asked", "said"),
    [
        (SOUND[2], {"sampling_rate": 8000}, "16000"),
        (numpy.zeros(0, numpy.float32), {}, "empty"),
        ([], {}, "empty"),
        (numpy.zeros((2, 2, 9), numpy.float32), {}, "one channel"),
        ((SOUND[2] * 32767).astype(numpy.int16), {}, "floats from -1 to 1"),
        (numpy.full(400, numpy.nan, numpy.float32), {}, "NaN"),
        ("speech.wav", {}, "floats"),
        (SOUND[2][:100], {"padding": False}, "half a frame"),
        (SOUND, {"padding": False, "truncation": False, "return_tensors": "pt"}, "differ in size"),
        (SOUND[2], {"padding": "yes"}, "padding"),
    ],
)
def test_what_is_no_waveform_is_refused(sound, asked, said) -> None:
    with pytest.raises(InputError, match=said):
        WhisperFeatureExtractor()(sound, **asked)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match="hop_length"):
        WhisperFeatureExtractor(hop_length=0)
    with pytest.raises(UnknownArgumentError, match="hop_length"):
        WhisperFeatureExtractor(hop_lenght=10)
    with pytest.raises(TypeError, match="sample_rate"):
        WhisperFeatureExtractor()(SOUND[2], sample_rate=16000)


def test_settings_go_both_ways_with_the_peer(peer, tmp_path) -> None:
    WhisperFeatureExtractor(feature_size=24, chunk_length=7, dither=0.5).save_pretrained(tmp_path / "ours")
    theirs = peer.from_pretrained(tmp_path / "ours")
    assert (theirs.feature_size, theirs.n_samples, theirs.dither) == (24, 112_000, 0.5)
    theirs.save_pretrained(tmp_path / "theirs")
    for door in (WhisperFeatureExtractor, AutoFeatureExtractor, AutoProcessor):
        found = door.from_pretrained(tmp_path / "theirs")
        assert type(found) is WhisperFeatureExtractor
        assert (found.feature_size, found.n_samples, found.nb_max_frames, found.dither) == (24, 112_000, 700, 0.5)
    changed = WhisperFeatureExtractor.from_pretrained(tmp_path / "theirs", chunk_length=3)
    changed.save_pretrained(tmp_path / "changed")
    assert peer.from_pretrained(tmp_path / "changed").n_samples == 48_000


def test_a_checkpoint_without_settings_has_its_models(tmp_path) -> None:
    WhisperConfig(num_mel_bins=128).save_pretrained(tmp_path)
    assert WhisperFeatureExtractor.from_pretrained(tmp_path).feature_size == 128
    assert AutoFeatureExtractor.from_pretrained(tmp_path, chunk_length=5).n_samples == 80_000
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(CheckpointNotFoundError, match=r"preprocessor_config\.json"):
        WhisperFeatureExtractor.from_pretrained(tmp_path)


def test_settings_of_another_family_are_refused(tmp_path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1}))
    with pytest.raises(ConfigError, match="Wav2Vec2FeatureExtractor"):
        WhisperFeatureExtractor.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (torch.zeros(1, 5, 40), "mel bins"),
        (torch.zeros(1, 40, 6), "transpose"),
        (torch.zeros(1, 6, 39), "39 frames"),
        (torch.zeros(6, 40), "must be floats"),
        (torch.zeros(1, 6, 40, dtype=torch.long), "must be floats"),
        (torch.zeros(0, 6, 40), "must be floats"),
        (None, "WhisperFeatureExtractor"),
    ],
)
def test_features_of_another_shape_are_refused_by_the_model(features, said) -> None:
    shape = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    config = WhisperConfig(
        **shape,
        vocab_size=20,
        num_mel_bins=6,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_source_positions=20,
        pad_token_id=0,
    )
    with pytest.raises(InputError, match=said):
        WhisperModel(config)(features, decoder_input_ids=torch.tensor([[1]]))
