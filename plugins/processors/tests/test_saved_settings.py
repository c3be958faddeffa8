"""Settings are kept, checked, written, read back, and refused where they are another class's."""

from __future__ import annotations

import json

import pytest
from transept_processors import BaseImageProcessor, FeatureExtractionMixin, ProcessorMixin, SequenceFeatureExtractor

from transept import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor
from transept.errors import CheckpointNotFoundError, ConfigError, CorruptFileError, InputError, UnknownArgumentError


class Ear(SequenceFeatureExtractor):
    other_names = ("OldEar",)
    model_input_names = ["input_values"]  # noqa: RUF012

    def __init__(self, *, gain: float = 1.0, bands: list[int] | None = None, **settings):
        super().__init__(**settings)
        self.gain, self.bands = gain, bands or [1, 2]


class Eye(BaseImageProcessor):
    def __init__(self, *, size: int = 8, **settings):
        super().__init__(**settings)
        self.size = size


class Tongue:
    model_input_names = ["input_ids"]  # noqa: RUF012

    def save_pretrained(self, folder):
        return []

    def decode(self, ids):
        return f"said {ids}"


class Head(ProcessorMixin):
    parts = {"feature_extractor": ("Ear",), "tokenizer": ("Tongue",)}  # noqa: RUF012


def test_settings_go_to_a_file_and_come_back(tmp_path) -> None:
    Ear(gain=2.0, bands=[3], sampling_rate=8000).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert stored == {
        "bands": [3],
        "feature_extractor_type": "Ear",
        "feature_size": 1,
        "gain": 2.0,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": 8000,
    }
    again = Ear.from_pretrained(tmp_path)
    assert again.to_dict() == stored
    assert Ear.from_pretrained(tmp_path, gain=3.0).gain == 3.0


def test_what_a_file_has_beside_them_is_kept(tmp_path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": "OldEar", "gain": 4.0, "colour": "blue", "processor_class": "Head"})
    )
    found = Ear.from_pretrained(tmp_path)
    assert found.gain == 4.0
    found.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert (stored["colour"], stored["processor_class"], stored["feature_extractor_type"]) == ("blue", "Head", "Ear")


def test_settings_inside_a_processors_file_come_first(tmp_path) -> None:
    Ear(gain=1.0).save_pretrained(tmp_path)
    inside = {"feature_extractor": Ear(gain=7.0).to_dict(), "processor_class": "Head"}
    (tmp_path / "processor_config.json").write_text(json.dumps(inside))
    assert Ear.from_pretrained(tmp_path).gain == 7.0


def test_another_classs_settings_are_refused(tmp_path) -> None:
    Ear().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="settings of a `Ear`, and `Eye`"):
        Eye.from_pretrained(tmp_path)


def test_unknown_settings_are_refused_with_a_hint(tmp_path) -> None:
    with pytest.raises(UnknownArgumentError, match=r"`Ear` has no setting `gian`.*gain"):
        Ear(gian=1.0)
    Ear().save_pretrained(tmp_path)
    with pytest.raises(UnknownArgumentError, match="sampling_rate"):
        Ear.from_pretrained(tmp_path, sample_rate=1)


def test_missing_and_damaged_files(tmp_path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="preprocessor_config"):
        Ear.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(ConfigError, match="are an object"):
        Ear.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(CorruptFileError):
        Ear.from_pretrained(tmp_path)


def test_changing_a_copy_of_the_settings_changes_nothing() -> None:
    ear = Ear(bands=[5])
    ear.to_dict()["bands"].append(6)
    assert ear.bands == [5]


def test_a_processor_joins_its_parts(tmp_path) -> None:
    head = Head(Ear(gain=2.0), Tongue())
    assert head.model_input_names == ["input_values", "input_ids"]
    assert head.decode([1]) == "said [1]"
    head.save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "processor_config.json").read_text())
    assert stored["processor_class"] == "Head"
    assert stored["feature_extractor"]["gain"] == 2.0
    with pytest.raises(InputError, match="needs its part `tokenizer`"):
        Head(Ear())
    with pytest.raises(UnknownArgumentError, match=r"no part `tokeniser`.*tokenizer"):
        Head(Ear(), tokeniser=Tongue())


@pytest.mark.parametrize("door", [AutoFeatureExtractor, AutoImageProcessor, AutoProcessor])
def test_an_auto_class_says_what_is_missing(tmp_path, door) -> None:
    with pytest.raises(UnknownArgumentError, match="names no processor"):
        door.from_pretrained(tmp_path)


def test_they_are_public() -> None:
    import transept

    assert transept.FeatureExtractionMixin is FeatureExtractionMixin
    assert transept.BaseImageProcessor is BaseImageProcessor
