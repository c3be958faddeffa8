"""What a configuration accepts, refuses, and keeps when it refuses."""

import copy
import pickle
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transept.configuration import PreTrainedConfig, PretrainedConfig
from transept.errors import ConfigError, UnknownArgumentError

WRONG = [
    ("hidden_size", "64"),
    ("hidden_size", 64.0),
    ("hidden_size", True),
    ("hidden_size", 0),
    ("hidden_size", -1),
    ("hidden_size", None),
    ("hidden_size", 10**400),
    ("dropout", 1.5),
    ("dropout", float("nan")),
    ("dropout", "0.1"),
    ("dropout", 10**400),
    ("hidden_act", 3),
    ("use_cache", 1),
    ("use_cache", "true"),
    ("layer_types", "full_attention"),
    ("layer_types", [1]),
    ("architectures", "TinyModel"),
    ("eos_token_id", "2"),
    ("eos_token_id", [2, "3"]),
    ("problem_type", "multi"),
    ("dtype", "flot16"),
    ("dtype", "os.system"),
    ("dtype", 3),
    ("id2label", {"a": "b"}),
    ("id2label", ["a"]),
    ("label2id", {1: 1}),
    ("quantization_config", 3),
    ("attn_implementation", 3),
    ("rope_parameters", "default"),
    ("rope_parameters", {"rope_type": "lineer", "factor": 2.0}),
    ("rope_parameters", {"rope_type": "linear"}),
    ("rope_parameters", {"rope_type": 3}),
    ("rope_parameters", {"rope_theta": -1.0}),
    ("rope_parameters", {"rope_theta": True}),
    ("rope_scaling", {"type": "linear", "factor": "2"}),
    ("rope_theta", 0),
    ("partial_rotary_factor", 1.5),
    ("num_labels", -1),
    ("num_labels", "3"),
    ("num_labels", True),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=repr)
def test_wrong_values_are_refused_by_name(tiny, folder, name, value):
    with pytest.raises(ConfigError) as refused:
        tiny(**{name: value})
    assert f"`{name}`" in str(refused.value) or "rope_type" in str(refused.value) or "rope_parameters" in str(refused.value)
    assert "TinyConfig" in str(refused.value)
    assert isinstance(refused.value, ValueError)
    assert len(str(refused.value)) < 500

    config = tiny()
    before = pickle.dumps(config)
    with pytest.raises(ConfigError):
        setattr(config, name, value)
    assert pickle.dumps(config) == before
    with pytest.raises(ConfigError):
        config.update({"hidden_act": "gelu", name: value})
    assert config == pickle.loads(before)
    with pytest.raises(ConfigError):
        config.copy_with(**{name: value})


@pytest.mark.parametrize("value", ["64", 0, None, [64]])
def test_a_file_with_wrong_values_is_named(tiny, folder, value):
    place = folder({"model_type": "tiny", "hidden_size": value})
    with pytest.raises(ConfigError, match="hidden_size") as refused:
        tiny.from_pretrained(place)
    assert place in str(refused.value)


def test_every_wrong_field_is_named_at_once(tiny):
    with pytest.raises(ConfigError) as refused:
        tiny(hidden_size="a", hidden_act=3)
    assert refused.value.refused == ("hidden_size", "hidden_act")


@pytest.mark.parametrize(
    ("value", "words"),
    [("hiden_size", "`hidden_size`"), ("num_hidden_layer", "`num_hidden_layers`"), ("rope_thta", "`rope_theta`")],
)
def test_unknown_keywords_are_refused_with_the_nearest_name(tiny, folder, value, words):
    with pytest.raises(UnknownArgumentError, match=words) as refused:
        tiny(**{value: 3})
    assert isinstance(refused.value, TypeError)
    place = folder({"model_type": "tiny"})
    for refuse in (lambda: tiny.from_pretrained(place, **{value: 3}), lambda: tiny.from_dict({}, **{value: 3})):
        with pytest.raises(UnknownArgumentError, match=words):
            refuse()
    with pytest.raises(UnknownArgumentError, match=words):
        tiny().copy_with(**{value: 3})
    config, unused = tiny.from_pretrained(place, return_unused_kwargs=True, hidden_size=32, **{value: 3})
    assert (config.hidden_size, unused) == (32, {value: 3})


def test_positional_arguments_are_refused(tiny):
    with pytest.raises(TypeError):
        tiny(64)


def test_whole_numbers_serve_as_floats(tiny):
    config = tiny(dropout=0, rope_theta=500000)
    assert config.dropout == 0.0
    assert config.rope_theta == 500000


def test_legal_changes_in_two_steps(tiny):
    config = tiny(head_dim=16)
    config.hidden_size = 30
    with pytest.raises(ConfigError, match="hidden_size"):
        config.validate_config()
    config.num_attention_heads = 5
    config.validate_config()
    config.hidden_size = 64
    for check in (copy.copy, copy.deepcopy, lambda c: c.copy_with(), lambda c: c.save_pretrained("/nonexistent")):
        with pytest.raises(ConfigError, match="hidden_size"):
            check(config)
    assert config.copy_with(num_attention_heads=4).num_attention_heads == 4
    with pytest.raises(ConfigError, match="hidden_size"):
        tiny(hidden_size=30, num_attention_heads=4)


def test_unknown_attributes_of_a_live_configuration_are_kept(tiny):
    config = tiny()
    config.my_flag = {"a": [1]}
    config._private = 3
    assert config.my_flag == {"a": [1]}
    assert config._private == 3
    assert "my_flag" in config
    assert config.to_dict()["my_flag"] == {"a": [1]}
    config.hidden_size = 32
    assert config._private == 3
    assert "_private" not in config.to_dict()
    assert "_private" not in config.to_json_string()
    assert "_private" not in config
    assert copy.deepcopy(config)._private == 3
    del config.my_flag
    assert not hasattr(config, "my_flag")


def test_methods_and_the_class_are_not_overwritten(tiny):
    config = tiny()
    for name in ("save_pretrained", "to_dict", "model_type", "attribute_map", "model_fields"):
        with pytest.raises(ConfigError, match=name):
            setattr(config, name, "x")
    with pytest.raises(UnknownArgumentError):
        tiny(to_dict="x")
    loaded = tiny.from_dict({"to_dict": "x", "validate_config": 1, "__class__": "y", "model_fields": {}})
    assert type(loaded) is tiny
    assert loaded.to_dict()["to_dict"] == "x"
    assert loaded.get("validate_config") == 1


def test_deleting_a_field_brings_its_default_back(tiny):
    config = tiny(quantization_config={"quant_method": "x"}, hidden_act="gelu")
    del config.quantization_config
    del config.hidden_act
    assert config.quantization_config is None
    assert config.hidden_act == "silu"
    assert "quantization_config" not in config.to_dict()
    with pytest.raises(AttributeError):
        del config.nothing


def test_reading_what_is_not_there(tiny):
    config = tiny()
    with pytest.raises(AttributeError, match="nothing"):
        config.nothing  # noqa: B018
    assert getattr(config, "nothing", 3) == 3
    assert config.get("nothing") is None
    assert config.get("nothing", 3) == 3
    assert config.get("hidden_size") == 64
    config.dtype = "float16"
    assert config.get("dtype") is config.get("torch_dtype") is config.dtype
    assert not config.has_field("nothing")
    assert config.has_field("torch_dtype")
    assert config.has_field("rope_theta")


def test_other_names_of_fields(old, tiny):
    config = old(hidden_size=32)
    assert config.n_embd == config.hidden_size == config.get("hidden_size") == 32
    config.hidden_size = 16
    assert config.n_embd == 16
    with pytest.raises(ConfigError, match="n_embd"):
        config.hidden_size = 0
    assert config.n_embd == 16
    written = config.to_dict()
    assert written["n_embd"] == 16
    assert "hidden_size" not in written
    assert old.from_dict({"hidden_size": 8, "n_head": 2}).to_diff_dict() == {"model_type": "old", "n_embd": 8, "n_head": 2}
    assert old.from_dict({"n_embd": 8}, hidden_size=32).n_embd == 32
    assert old.from_dict({"hidden_size": 8}, n_embd=32).n_embd == 32
    for make in (lambda **values: old(**values), lambda **values: old.from_dict(values)):
        assert make(hidden_size=8, n_embd=8).n_embd == 8
        with pytest.raises(ConfigError, match="`hidden_size` and `n_embd`"):
            make(hidden_size=8, n_embd=16)


def test_other_names_must_name_fields():
    with pytest.raises(TypeError, match="n_embd"):
        type("Bad", (PretrainedConfig,), {"attribute_map": {"hidden_size": "n_embd"}, "__module__": __name__})


def test_rope_names_are_ordinary_where_there_is_no_rope(old):
    with pytest.raises(UnknownArgumentError):
        old(rope_theta=3.0)
    config = old.from_dict({"rope_theta": 3.0, "rope_scaling": None})
    assert config.rope_theta == 3.0
    assert config.to_dict()["rope_scaling"] is None


def test_both_spellings_of_the_class():
    assert PreTrainedConfig is PretrainedConfig


def test_a_mapping_and_its_keys(tiny):
    config = tiny()
    assert [*config] == [key for key in config.to_dict() if key != "model_type"]
    assert "hidden_size" in config
    assert "quantization_config" not in config
    assert "attn_implementation" not in config
    assert config.model_type == "tiny"


def test_copies_are_deep_and_equal(tiny):
    config = tiny(rope_scaling={"type": "linear", "factor": 2.0}, id2label={0: "a"})
    config.extra = {"a": [1]}
    for made in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), config.copy_with()):
        assert made == config
        made.extra["a"].append(2)
        made.rope_parameters["factor"] = 4.0
        made.id2label[0] = "b"
        assert config.extra == {"a": [1]}
        assert config.rope_parameters["factor"] == 2.0
        assert config.id2label == {0: "a"}
        assert made != config
    assert tiny() != SimpleNamespace()
    with pytest.raises(TypeError):
        hash(config)


def test_the_users_dicts_are_not_shared_or_changed(tiny):
    values = {"rope_scaling": {"type": "linear", "factor": 2.0}, "mine": {"a": 1}, "id2label": {"0": "a"}}
    before = copy.deepcopy(values)
    config = tiny.from_dict(values)
    config.mine["a"] = 2
    assert values == before
    config = tiny(rope_scaling=values["rope_scaling"])
    config.rope_parameters["factor"] = 3
    assert values == before


def test_repr_is_the_class_and_its_json(tiny):
    config = tiny()
    assert repr(config) == str(config) == f"TinyConfig {config.to_json_string()}"
    config.odd = {1, 2}
    assert "{1, 2}" in repr(config)
    with pytest.raises(ConfigError, match="`odd`"):
        config.to_json_string()


class TestDtype:
    def test_is_a_torch_dtype_here_and_a_name_in_files(self, tiny):
        import torch

        for given_as in (torch.bfloat16, "bfloat16", "torch.bfloat16"):
            for name in ("dtype", "torch_dtype"):
                config = tiny(**{name: given_as})
                assert config.dtype is config.torch_dtype is torch.bfloat16
                assert config.to_dict()["dtype"] == "bfloat16"
                assert "torch_dtype" not in config.to_dict()
                assert '"dtype": "bfloat16"' in config.to_json_string()
        config.torch_dtype = torch.float16
        assert config.dtype is torch.float16
        config.dtype = None
        assert config.dtype is None
        assert tiny(dtype="half").dtype is torch.float16

    def test_every_name_is_one_of_torch(self):
        import torch

        from transept.config_fields import _DTYPES

        assert all(isinstance(getattr(torch, name), torch.dtype) for name in _DTYPES.values())

    def test_inside_other_values(self, tiny):
        import torch

        config = tiny()
        config.compute = {"dtype": torch.float16, "sizes": (1, 2)}
        assert config.to_dict()["compute"] == {"dtype": "float16", "sizes": [1, 2]}


class TestLabels:
    def test_two_labels_where_nothing_is_said(self, tiny):
        config = tiny()
        assert config.num_labels == 2
        assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
        assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1}
        assert "id2label" not in config.to_diff_dict()

    def test_follow_each_other(self, tiny):
        config = tiny(id2label={"0": "no", "1": "yes", "2": "maybe"})
        assert config.id2label == {0: "no", 1: "yes", 2: "maybe"}
        assert config.label2id == {"no": 0, "yes": 1, "maybe": 2}
        assert config.num_labels == 3
        config.num_labels = 3
        assert config.id2label[0] == "no"
        config.num_labels = 4
        assert config.label2id["LABEL_3"] == 3
        config.id2label = {0: "a"}
        assert config.label2id == {"a": 0}
        config.label2id = {"x": 0, "y": 1}
        assert config.id2label == {0: "x", 1: "y"}
        config.label2id = {"x": 0, "y": 1, "Y": 1}
        assert config.id2label == {0: "x", 1: "y"}
        assert tiny(label2id={"a": 1, "b": 0}).id2label == {1: "a", 0: "b"}
        assert tiny(num_labels=0).id2label == {}

    def test_contradictions_of_a_user_are_refused(self, tiny):
        for values in (
            {"num_labels": 3, "id2label": {0: "a"}},
            {"id2label": {0: "a"}, "label2id": {"b": 0}},
            {"label2id": {"a": 0, "A": 0}},
        ):
            with pytest.raises(ConfigError, match="id2label"):
                tiny(**values)

    def test_contradictions_of_a_file_are_kept(self, tiny):
        config = tiny.from_dict({"id2label": {"0": "a"}, "label2id": {"LABEL_0": 0}, "num_labels": 2})
        assert (config.num_labels, config.id2label, config.label2id) == (1, {0: "a"}, {"LABEL_0": 0})

    def test_another_number_than_the_files(self, tiny):
        values = {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
        assert tiny.from_dict(values, num_labels=3).id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
        assert tiny.from_dict(values, num_labels=2).id2label == {0: "a", 1: "b"}
        made = tiny.from_dict(values, id2label={0: "z"})
        assert (made.num_labels, made.label2id) == (1, {"z": 0})
        assert tiny.from_dict(values, label2id={"x": 0, "y": 1, "z": 2}).id2label == {0: "x", 1: "y", 2: "z"}

    def test_contradictions_of_keywords_are_refused_like_those_of_the_constructor(self, tiny):
        for overrides in ({"num_labels": 3, "id2label": {0: "a"}}, {"id2label": {0: "a"}, "label2id": {"b": 0}}):
            with pytest.raises(ConfigError, match="id2label"):
                tiny.from_dict({"hidden_size": 32}, **overrides)

    def test_one_label_is_no_classification(self, tiny):
        with pytest.raises(ConfigError, match="problem_type"):
            tiny(num_labels=1, problem_type="single_label_classification")
        assert tiny(num_labels=1, problem_type="regression").num_labels == 1


class TestAttention:
    def test_in_memory_only(self, tiny, tmp_path):
        config = tiny(attn_implementation="sdpa")
        assert config.attn_implementation == config._attn_implementation == "sdpa"
        config._attn_implementation = "eager"
        assert config.attn_implementation == "eager"
        config.save_pretrained(tmp_path)
        assert "attn" not in (tmp_path / "config.json").read_text()
        assert tiny.from_pretrained(tmp_path).attn_implementation is None
        assert tiny.from_pretrained(tmp_path, attn_implementation="sdpa").attn_implementation == "sdpa"
        assert copy.deepcopy(config).attn_implementation == "eager"
        assert tiny(attn_implementation={"layers.0.*": "eager"}).attn_implementation == {"layers.0.*": "eager"}

    def test_reaches_inner_configurations(self, pair):
        config = pair(text_config={}, vision_config={})
        config.attn_implementation = "eager"
        assert config.text_config.attn_implementation == "eager"


class TestInnerConfigurations:
    def test_are_made_from_dicts(self, pair, tiny):
        config = pair(text_config={"hidden_size": 32}, vision_config={"hidden_size": 8})
        assert isinstance(config.text_config, tiny)
        assert config.text_config.head_dim == 8
        assert config.vision_config.n_embd == 8
        assert config.get_text_config() is config.text_config
        assert tiny().get_text_config(decoder=True).model_type == "tiny"
        with pytest.raises(UnknownArgumentError, match="hidden_size"):
            pair(text_config={"hiden_size": 32})
        with pytest.raises(ConfigError, match="hidden_size"):
            pair(text_config={"hidden_size": "32"})
        config.text_config = {"hidden_size": 16}
        assert config.text_config.hidden_size == 16

    def test_come_back_from_a_file(self, pair, tmp_path):
        config = pair(text_config={"hidden_size": 32}, vision_config={"hidden_size": 8}, projection=4)
        config.text_config.extra = 1
        config.save_pretrained(tmp_path)
        made = pair.from_pretrained(tmp_path)
        assert made == config
        assert made.text_config.extra == 1
        assert pair.from_pretrained(tmp_path, text_config={"num_hidden_layers": 7}).text_config.hidden_size == 32

    def test_are_checked_with_the_whole(self, pair):
        config = pair(text_config={"hidden_size": 32})
        config.text_config.num_attention_heads = 5
        with pytest.raises(ConfigError, match="hidden_size"):
            config.validate_config()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(name=st.sampled_from(sorted(PretrainedConfig.model_fields)), value=json_values)
def test_a_refused_assignment_changes_nothing(name, value):
    config = PretrainedConfig(id2label={0: "a"}, dtype="float16", attn_implementation="x")
    before = pickle.dumps(config)
    try:
        setattr(config, name, value)
    except ConfigError:
        assert pickle.dumps(config) == before
    else:
        config.to_json_string()


@given(values=st.dictionaries(st.text(max_size=12), json_values, max_size=4))
def test_unknown_keys_come_back_value_for_value(values):
    values = {"x_" + name: value for name, value in values.items()}
    config = PretrainedConfig.from_dict(values)
    written = config.to_dict()
    assert repr({name: written[name] for name in values}) == repr(values)
