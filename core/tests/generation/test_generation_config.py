"""GenerationConfig keeps the peer's names and files, and refuses what contradicts itself."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from transept.errors import CheckpointNotFoundError, CorruptFileError, GenerationError, UnknownArgumentError
from transept.generation import GenerationConfig
from transept.generation.configuration import DEFAULTS


def test_every_field_of_the_peer_is_a_field():
    theirs = pytest.importorskip("transformers").GenerationConfig()
    public = {name for name in vars(theirs) if not name.startswith("_")}
    assert public <= set(GenerationConfig().to_dict())


def test_defaults_are_the_peers():
    theirs = pytest.importorskip("transformers").GenerationConfig._get_default_generation_params()
    assert DEFAULTS.items() <= theirs.items()


def test_an_unknown_keyword_is_refused_with_the_nearest():
    with pytest.raises(UnknownArgumentError, match=r"`temperatur`.*Did you mean `temperature`"):
        GenerationConfig(temperatur=0.3)
    with pytest.raises(UnknownArgumentError, match="defaults_only"):
        GenerationConfig(defaults_only=True)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"do_sample": False, "temperature": 0.7}, ("do_sample=False", "temperature=0.7")),
        ({"do_sample": False, "top_k": 10}, ("do_sample=False", "top_k=10")),
        ({"do_sample": False, "min_p": 0.1}, ("do_sample=False", "min_p=0.1")),
        ({"num_beams": 1, "length_penalty": 2.0}, ("num_beams=1", "length_penalty=2.0")),
        ({"use_cache": False, "cache_implementation": "static"}, ("use_cache=False", "cache_implementation='static'")),
        ({"return_dict_in_generate": False, "output_scores": True}, ("return_dict_in_generate=False", "output_scores=True")),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, ("min_new_tokens=5", "max_new_tokens=4")),
        ({"min_length": 5, "max_length": 4}, ("min_length=5", "max_length=4")),
    ],
)
def test_contradictory_flags_are_refused_naming_both(flags, names):
    for act in (lambda: GenerationConfig(**flags), lambda: GenerationConfig().update(**flags)):
        with pytest.raises(GenerationError) as caught:
            act()
        assert all(name in str(caught.value) for name in names)
    GenerationConfig.from_dict(flags)  # a file may hold them


@pytest.mark.parametrize(
    "flags",
    [
        {"do_sample": False, "temperature": 0},
        {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50},
        {"do_sample": False, "temperature": None, "top_p": None},
        {"do_sample": True, "temperature": 0.0},
        {"do_sample": False, "penalty_alpha": 0.6, "top_k": 4},
        {"num_beams": 4, "early_stopping": "never", "length_penalty": -1.0},
        {"max_new_tokens": 0},
        {"num_beams": 1, "early_stopping": False, "length_penalty": 1.0},
    ],
)
def test_flags_that_fit_are_taken_in_silence(flags, recwarn):
    GenerationConfig(**flags)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", "hot"),
        ("top_k", 1.5),
        ("top_k", -1),
        ("top_p", 1.1),
        ("typical_p", 0.0),
        ("repetition_penalty", 0.0),
        ("num_beams", 0),
        ("num_return_sequences", 0),
        ("max_new_tokens", -1),
        ("max_new_tokens", True),
        ("max_time", 0),
        ("do_sample", 1),
        ("early_stopping", "soon"),
    ],
)
def test_a_refused_assignment_changes_nothing(name, value):
    config = GenerationConfig(max_new_tokens=3)
    before = config.to_dict()
    for act in (
        lambda: setattr(config, name, value),
        lambda: config.update(**{"min_p": 0.2, name: value}),
        lambda: GenerationConfig(**{name: value}),
    ):
        with pytest.raises(GenerationError, match=f"`{name}`"):
            act()
        assert config.to_dict() == before


def test_forcing_what_is_suppressed_is_refused():
    with pytest.raises(GenerationError, match=r"forced_eos_token_id.*suppress_tokens"):
        GenerationConfig(forced_eos_token_id=3, suppress_tokens=[3, 4]).validate()


def test_saved_and_read_back_with_unknown_keys(tmp_path):
    content = {
        "do_sample": True,
        "temperature": 0.6,
        "eos_token_id": [1, 2],
        "their_own": {"a": [1]},
        "transformers_version": "4.1",
    }
    (tmp_path / "generation_config.json").write_text(json.dumps({**content, "_from_model_config": True, "_secret": 1}))
    config = GenerationConfig.from_pretrained(tmp_path)
    assert config.their_own == {"a": [1]}
    config.save_pretrained(tmp_path / "new")
    assert json.loads((tmp_path / "new/generation_config.json").read_text()) == {**content, "_from_model_config": True}
    assert GenerationConfig.from_pretrained(tmp_path / "new") == config


def test_the_peer_reads_ours_and_we_read_the_peers(tmp_path):
    peer = pytest.importorskip("transformers").GenerationConfig
    fields = {"do_sample": True, "top_k": 7, "eos_token_id": [3, 5], "max_new_tokens": 9, "stop_strings": ["a"]}
    GenerationConfig(**fields, sequence_bias={(1, 2): -1.5}).save_pretrained(tmp_path / "ours")
    read = peer.from_pretrained(tmp_path / "ours")
    assert {name: getattr(read, name) for name in fields} == fields
    assert read.sequence_bias == [[[1, 2], -1.5]]
    peer(**fields, bos_token_id=4).save_pretrained(tmp_path / "theirs")
    assert GenerationConfig.from_pretrained(tmp_path / "theirs") == GenerationConfig(**fields, bos_token_id=4)


def test_overrides_and_unused_keywords(tmp_path):
    GenerationConfig(top_k=3).save_pretrained(tmp_path)
    config, unused = GenerationConfig.from_pretrained(tmp_path, return_unused_kwargs=True, top_k=9, sauce="hot")
    assert (config.top_k, unused) == (9, {"sauce": "hot"})
    with pytest.raises(UnknownArgumentError, match="sauce"):
        GenerationConfig.from_pretrained(tmp_path, sauce="hot")
    assert GenerationConfig().update(top_k=2, sauce=1) == {"sauce": 1}


def test_a_missing_or_broken_file_says_so(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointNotFoundError, match=r"generation_config\.json"):
        GenerationConfig.from_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text("[1]")
    with pytest.raises(CorruptFileError):
        GenerationConfig.from_pretrained(tmp_path)


def test_copies_are_equal_and_separate():
    config = GenerationConfig(eos_token_id=[1])
    config.their_own = [1]  # a live config takes new names
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config
        twin.eos_token_id.append(2)
        assert twin != config


def test_from_a_models_config():
    config = GenerationConfig.from_model_config(
        {
            "vocab_size": 9,
            "eos_token_id": 2,
            "use_cache": True,
            "num_beams": 4,
            "decoder": {"bos_token_id": 1, "eos_token_id": 7},
        }
    )
    assert (config.eos_token_id, config.bos_token_id, config.num_beams, config.use_cache) == (2, 1, 4, True)
    assert "vocab_size" not in config.to_dict()
    assert GenerationConfig.from_model_config({"output_attentions": True}).return_dict_in_generate is True
