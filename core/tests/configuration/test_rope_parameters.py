"""Rotary parameters: every spelling becomes one form, and what cannot be computed is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transept.errors import ConfigError
from transept.rope_parameters import ROPE_TYPES, check_rope, normalize_rope, rope_given

DEFAULT = {"rope_type": "default", "rope_theta": 10000.0}


def test_nothing_said_is_the_default(tiny):
    for values in ({}, {"rope_parameters": None}, {"rope_scaling": None}, {"rope_scaling": {}}, {"rope_theta": None}):
        assert tiny(**values).rope_parameters == DEFAULT
        assert tiny.from_dict(values).rope_parameters == DEFAULT
    config = tiny()
    assert config.rope_theta == 10000.0
    assert config.rope_scaling == DEFAULT
    assert config.partial_rotary_factor == 1.0


@pytest.mark.parametrize(
    ("older", "current"),
    [
        ({"rope_theta": 5e5}, {"rope_type": "default", "rope_theta": 5e5}),
        ({"rope_theta": 500000, "rope_scaling": None}, {"rope_type": "default", "rope_theta": 500000}),
        (
            {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}},
            {"rope_type": "linear", "factor": 2, "rope_theta": 5e5},
        ),
        (
            {"rope_scaling": {"rope_type": "dynamic", "type": "linear", "factor": 2.0}},
            {**DEFAULT, "rope_type": "dynamic", "factor": 2.0},
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0, "attn_factor": 0.8}},
            {**DEFAULT, "rope_type": "yarn", "factor": 4.0, "attention_factor": 0.8, "original_max_position_embeddings": 128},
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": None, "original_max_position_embeddings": 32}},
            {**DEFAULT, "rope_type": "yarn", "factor": None, "original_max_position_embeddings": 32},
        ),
        ({"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 1e4}, {"rope_type": "default", "rope_theta": 5e5}),
        ({"partial_rotary_factor": 0.5}, {**DEFAULT, "partial_rotary_factor": 0.5}),
        (
            {"rope_scaling": {"type": "default", "mrope_section": [2, 3, 3]}},
            {**DEFAULT, "mrope_section": [2, 3, 3]},
        ),
    ],
)
def test_older_spellings(tiny, older, current):
    for config in (tiny(**older), tiny.from_dict(older)):
        assert config.rope_parameters == current
        written = json.loads(config.to_json_string())
        assert written["rope_parameters"] == current
        assert not {"rope_theta", "rope_scaling", "partial_rotary_factor"} & written.keys()
        assert tiny.from_dict(written) == config


def test_a_pretraining_length_beside_the_dict(tiny):
    values = {"rope_scaling": {"type": "yarn", "factor": 2.0}, "original_max_position_embeddings": 32}
    config = tiny.from_dict(values)
    assert config.rope_parameters["original_max_position_embeddings"] == 32
    assert config.original_max_position_embeddings == 32


def test_assignment(tiny):
    config = tiny(rope_theta=5e5)
    config.rope_scaling = {"type": "linear", "factor": 2.0}
    assert config.rope_parameters == {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    config.rope_theta = 1e6
    assert config.rope_parameters == {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}
    for wrong in ({"type": "linear"}, {"type": "nonsense"}, 3):
        with pytest.raises(ConfigError):
            config.rope_scaling = wrong
        with pytest.raises(ConfigError):
            config.rope_parameters = wrong
    assert config.rope_parameters == {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}
    config.partial_rotary_factor = 0.25
    assert config.partial_rotary_factor == 0.25
    config.rope_scaling = None
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.25}


def test_keywords_come_after_the_file(tiny, folder):
    place = folder({"model_type": "tiny", "rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}})
    assert tiny.from_pretrained(place, rope_theta=1e6).rope_parameters["rope_theta"] == 1e6
    assert tiny.from_pretrained(place, rope_theta=1e6).rope_parameters["factor"] == 2.0
    made = tiny.from_pretrained(place, rope_scaling={"type": "dynamic", "factor": 4.0})
    assert made.rope_parameters == {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 5e5}
    assert tiny.from_pretrained(place, rope_parameters=None).rope_parameters == {"rope_type": "default", "rope_theta": 5e5}


NEEDED = [(kind, key) for kind, known in ROPE_TYPES.items() for key in known.needs if key != "original_max_position_embeddings"]
COMPLETE = {
    "factor": 2.0,
    "short_factor": [1.0] * 8,
    "long_factor": [2.0] * 8,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def complete(kind):
    return {"rope_type": kind, **{key: COMPLETE[key] for key in ROPE_TYPES[kind].needs}}


@pytest.mark.parametrize(("kind", "key"), NEEDED)
def test_a_missing_key_is_named(tiny, kind, key):
    rope = complete(kind)
    assert tiny(rope_parameters=rope).rope_parameters["rope_type"] == kind
    del rope[key]
    for make in (lambda: tiny(rope_parameters=rope), lambda: tiny.from_dict({"rope_scaling": rope})):
        with pytest.raises(ConfigError, match=f"`{kind}`, which needs `{key}`"):
            make()


@pytest.mark.parametrize("wrong", [None, "2", True, 0, -1, float("nan"), float("inf"), 10**400, [2.0]], ids=repr)
@pytest.mark.parametrize(("kind", "key"), [pair for pair in NEEDED if pair != ("yarn", "factor")])
def test_a_wrong_value_is_named(tiny, kind, key, wrong):
    with pytest.raises(ConfigError, match=key):
        tiny(rope_parameters={**complete(kind), key: wrong})


def test_lengths_are_those_of_the_heads(tiny):
    for key in ("short_factor", "long_factor"):
        with pytest.raises(ConfigError, match=f"{key}.*need 8"):
            tiny(rope_parameters={**complete("longrope"), key: [1.0] * 7})
    half = {**complete("longrope"), "short_factor": [1.0] * 4, "long_factor": [1.0] * 4, "partial_rotary_factor": 0.5}
    assert tiny(rope_parameters=half).partial_rotary_factor == 0.5


def test_odd_heads_are_refused(tiny):
    with pytest.raises(ConfigError, match="head_dim"):
        tiny(head_dim=15)
    assert tiny(head_dim=15, partial_rotary_factor=0.8).head_dim == 15


def test_a_change_in_place_is_found_when_the_model_is_built(tiny):
    config = tiny(rope_parameters=complete("linear"))
    config.rope_parameters["factor"] = "2"
    with pytest.raises(ConfigError, match="factor"):
        config.validate_config()


def test_a_type_that_only_a_plugin_knows_is_kept_from_a_file(tiny):
    rope = {"type": "axial3d", "bases": [1, 2]}
    config = tiny.from_dict({"rope_scaling": rope})
    assert config.rope_parameters == {"rope_type": "axial3d", "bases": [1, 2], "rope_theta": 10000.0}
    assert tiny.from_dict(json.loads(config.to_json_string())) == config
    config.rope_theta = 5.0
    assert config.rope_parameters == {"rope_type": "axial3d", "bases": [1, 2], "rope_theta": 5.0}
    assert tiny.from_dict({"rope_scaling": rope}, rope_theta=5.0) == config
    with pytest.raises(ConfigError, match="axial3d"):
        tiny(rope_scaling=rope)


def test_a_key_without_effect_is_said(tiny):
    with pytest.warns(UserWarning, match="`factor`"):
        tiny(rope_parameters={"rope_type": "default", "factor": 8.0})
    with pytest.warns(UserWarning, match="`beta_fast`"):
        tiny.from_dict({"rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 32}})


@pytest.mark.filterwarnings("error")
def test_keys_with_effect_or_unknown_ones_are_not(tiny):
    for kind in ROPE_TYPES:
        tiny(rope_parameters={**complete(kind), "novel": 3})
    tiny(rope_parameters={"rope_type": "default", "factor": 1.0, "original_max_position_embeddings": 3})


BY_LAYER = {"full_attention": {"type": "linear", "factor": 8.0, "rope_theta": 1e6}, "sliding_attention": {}, "none": None}


class TestByLayerType:
    def test_each_is_completed(self, tiny):
        config = tiny(rope_parameters=BY_LAYER, rope_theta=5e5)
        assert config.rope_parameters == {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5e5},
            "none": None,
        }
        assert tiny.from_dict(json.loads(config.to_json_string())) == config

    def test_there_is_no_one_theta(self, tiny):
        config = tiny(rope_parameters=BY_LAYER)
        assert not hasattr(config, "rope_theta")
        assert config.get("rope_theta") is None
        with pytest.raises(ConfigError, match="rope_parameters"):
            config.rope_theta = 3.0

    def test_each_is_checked(self, tiny):
        with pytest.raises(ConfigError, match=r"rope_parameters\['full_attention'\]"):
            tiny(rope_parameters={"full_attention": {"type": "linear"}, "sliding_attention": {}})


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.floats(), max_size=3)
keys = sorted({"type", "attn_factor", "novel", "rope_theta", "truncate", *COMPLETE, *ROPE_TYPES["yarn"].reads})


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    kind=st.sampled_from([*ROPE_TYPES, "novel"]),
    rope=st.dictionaries(st.sampled_from(keys), numbers, max_size=6),
    beside=st.dictionaries(st.sampled_from(["rope_theta", "partial_rotary_factor"]), numbers, max_size=2),
)
def test_normalising_twice_is_normalising_once(kind, rope, beside):
    values = {"rope_scaling": {**rope, "rope_type": kind}, **beside, "other": 1}
    try:
        made = normalize_rope(rope_given(values, "here"), theta=1e4, partial=None, pretrained_length=64)
        check_rope(made, "here")
    except ConfigError as error:
        refusal = str(error)
    else:
        refusal = "here"
        assert values == {"other": 1}
        assert repr(
            normalize_rope(made, theta=3.0, partial=0.5 if "partial_rotary_factor" in made else None, pretrained_length=1)
        ) == repr(made)
        assert not {"type", "attn_factor"} & made.keys()
        assert "novel" not in rope or made["novel"] is rope["novel"]
    assert "here" in refusal
