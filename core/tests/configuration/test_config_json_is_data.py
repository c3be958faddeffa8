"""Reading and writing config.json: data in, data out; nothing in it is imported, fetched or run."""

import builtins
import importlib
import json
import socket
import subprocess
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transept.configuration import PretrainedConfig
from transept.discovery import registry
from transept.errors import (
    CheckpointNotFoundError,
    ConfigError,
    CorruptFileError,
    SaveError,
    UnknownArgumentError,
)
from transept.files import open_location

FULL = {
    "model_type": "tiny",
    "architectures": ["TinyModel"],
    "hidden_size": 32,
    "transformers_version": "4.1.0",
    "torch_dtype": "bfloat16",
    "_name_or_path": "somebody/model",
    "_attn_implementation_internal": "somebody/kernel",
    "_attn_implementation": "eager",
    "attn_implementation": "somebody/kernel",
    "auto_map": {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModel": "somebody/code--modeling_tiny.TinyModel"},
    "temperature": 0.7,
    "max_length": 20,
    "task_specific_params": {"translate": {"prefix": "to French: ", "beams": [1, None, 2.5]}},
    "novel": None,
}


def test_unknown_keys_are_kept_and_private_ones_dropped(tiny, folder, tmp_path):
    config = tiny.from_pretrained(folder(FULL))
    assert config.hidden_size == 32
    assert config.temperature == 0.7
    assert config.novel is None
    assert config.attn_implementation is None
    assert config.name_or_path == str(tmp_path)
    assert not hasattr(config, "_attn_implementation_internal")
    config.save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    dropped = {"_name_or_path", "_attn_implementation_internal", "_attn_implementation", "attn_implementation", "torch_dtype"}
    for key, value in FULL.items():
        if key not in dropped:
            assert written[key] == value, key
    assert not dropped & written.keys()
    assert written["dtype"] == "bfloat16"
    assert tiny.from_pretrained(tmp_path / "again") == config


def test_what_made_it_is_written_and_is_no_part_of_it(tiny, tmp_path):
    config = tiny()
    config.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert json.loads(text)["transept"]["version"]
    assert json.loads(text)["transept"]["plugins"] == {}
    made = tiny.from_pretrained(tmp_path)
    assert made == config
    assert "transept" not in made.to_dict()
    assert "transept" not in made.to_json_string()
    assert made._made_with == json.loads(text)["transept"]
    made.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == text


def test_keys_are_sorted_and_common_defaults_left_out(tiny):
    written = json.loads(tiny().to_json_string())
    assert list(written) == sorted(written)
    assert "is_decoder" not in written
    assert written["use_cache"] is True
    assert "is_decoder" in json.loads(tiny().to_json_string(use_diff=False))
    assert json.loads(tiny(is_decoder=True).to_json_string())["is_decoder"] is True


def test_one_file_by_its_name(tiny, tmp_path):
    config = tiny(hidden_size=16)
    config.to_json_file(tmp_path / "mine.json")
    assert tiny.from_json_file(tmp_path / "mine.json") == config
    assert tiny.from_pretrained(tmp_path / "mine.json", hidden_size=32).hidden_size == 32
    with pytest.raises(FileNotFoundError):
        tiny.from_json_file(tmp_path / "other.json")


def test_a_location_serves_as_a_name(tiny, folder):
    location = open_location(folder({"model_type": "tiny", "hidden_size": 8}))
    values, rest = PretrainedConfig.get_config_dict(location, revision="main", other=3)
    assert values == {"model_type": "tiny", "hidden_size": 8}
    assert rest == {"other": 3}
    assert tiny.from_pretrained(location, cache_dir=None, trust_remote_code=False).hidden_size == 8


def test_a_file_for_another_class_is_refused_with_the_way_out(tiny, folder):
    place = folder({"model_type": "bert", "hidden_size": 8})
    with pytest.raises(ConfigError, match=r"`bert`|'bert'") as refused:
        tiny.from_pretrained(place)
    assert "AutoConfig" in str(refused.value)
    with pytest.raises(ConfigError):
        tiny(model_type="bert")
    base = PretrainedConfig.from_pretrained(place)
    assert base.model_type == base.to_dict()["model_type"] == "bert"
    base.is_decoder = True
    assert json.loads(base.to_json_string())["model_type"] == "bert"
    assert tiny(**tiny(hidden_size=8).to_dict()).hidden_size == 8
    assert tiny.from_pretrained(folder({"hidden_size": 8})).hidden_size == 8


def test_the_inner_configuration_of_a_composite_file(tiny, folder):
    place = folder({"model_type": "pair", "projection": 4, "text_config": {"model_type": "tiny", "hidden_size": 8}})
    assert tiny.from_pretrained(place).hidden_size == 8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"a"',
        '{"hidden_size": 8, "hidden_size": 16}',
        '{"a": ' + "[" * 100 + "]" * 100 + "}",
        "\x00",
    ],
    ids=repr,
)
def test_broken_files_are_named(tiny, folder, text):
    place = folder(text)
    with pytest.raises(CorruptFileError, match=r"config\.json"):
        tiny.from_pretrained(place)


def test_nothing_there(tiny, tmp_path):
    with pytest.raises(CheckpointNotFoundError):
        tiny.from_pretrained(tmp_path / "absent")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointNotFoundError, match=r"config\.json") as refused:
        tiny.from_pretrained(tmp_path)
    assert "notes.txt" in str(refused.value)


def test_a_format_that_carries_the_configuration_inside(tiny, tmp_path):
    from transept_hookspecs import CheckpointFormatSpec, hookimpl

    module = types.ModuleType("made_up_format")

    @hookimpl
    def provide_checkpoints():
        where = "made_up_format:read_config"
        return [CheckpointFormatSpec(key="made-up", open="made_up_format:opened", suffixes=(".made-up",), read_config=where)]

    module.provide_checkpoints = provide_checkpoints
    module.read_config = lambda location: {"model_type": "tiny", "hidden_size": 8, "files": list(location.names())}
    sys.modules["made_up_format"] = module
    try:
        with registry.register(module, "made-up"):
            (tmp_path / "weights.made-up").touch()
            assert tiny.from_pretrained(tmp_path).files == ["weights.made-up"]
            (tmp_path / "config.json").write_text('{"hidden_size": 16}')  # some other library's: it names no model
            assert tiny.from_pretrained(tmp_path).hidden_size == 8
            (tmp_path / "config.json").write_text('{"hidden_size": 16, "model_type": "tiny"}')
            assert tiny.from_pretrained(tmp_path).hidden_size == 16
    finally:
        del sys.modules["made_up_format"]


def test_code_from_a_checkpoint_is_refused(tiny, folder):
    with pytest.raises(UnknownArgumentError, match="trust_remote_code"):
        tiny.from_pretrained(folder(FULL), trust_remote_code=True)


def test_infinity_and_nan_are_tagged_like_the_peers(tiny, tmp_path):
    config = tiny()
    config.limits = [float("inf"), {"low": -float("inf")}, float("nan"), 1.5]
    config.to_json_file(tmp_path / "config.json")
    text = (tmp_path / "config.json").read_text()
    json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert repr(tiny.from_pretrained(tmp_path).limits) == repr(config.limits)
    tagged = {"__float__": "no number"}
    assert tiny.from_json_file(write(tmp_path, {"a": tagged})).a == tagged


def write(folder, values):
    (folder / "one.json").write_text(json.dumps(values))
    return folder / "one.json"


def test_a_refused_save_leaves_the_old_file(tiny, tmp_path):
    tiny().save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    config = tiny(hidden_size=32)
    config.odd = object()
    with pytest.raises(ConfigError, match="`odd`"):
        config.save_pretrained(tmp_path)
    del config.odd
    config.num_attention_heads = 5
    with pytest.raises(ConfigError, match="hidden_size"):
        config.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    with pytest.raises(SaveError):
        tiny().save_pretrained(tmp_path / "config.json")


def test_observers_hear_of_it(tiny, folder):
    from transept_hookspecs import hookimpl

    heard = []
    module = types.ModuleType("made_up_observer")
    module.config_created = hookimpl(lambda config: heard.append(config))
    with registry.register(module, "observer"):
        config = tiny.from_pretrained(folder({"model_type": "tiny"}))
        tiny()
        with pytest.raises(UnknownArgumentError):
            tiny.from_pretrained(folder({"model_type": "tiny"}), hiden_size=3)
    assert heard == [config]


def string_fields():
    names = [*PretrainedConfig.model_fields, "dtype", "torch_dtype", "auto_map", "quantization_config", "tokenizer_class"]
    names += [
        "_attn_implementation_internal",
        "_attn_implementation",
        "_auto_class",
        "kernel_config",
        "model_type",
        "hidden_act",
    ]
    return sorted({*names, "layer_types", "rope_parameters", "rope_scaling", "text_config", "custom_pipelines", "transept"})


@pytest.mark.parametrize(
    "value", ["owner/repo", "owner/repo:kernel", "antigravity:fly", "antigravity", "../../etc/passwd", "file:///etc/passwd"]
)
@pytest.mark.parametrize("name", string_fields())
def test_no_string_selects_code_or_a_file(tiny, folder, monkeypatch, name, value):
    place = folder({"model_type": "tiny", name: value})
    tried = []
    real_import, real_module = builtins.__import__, importlib.import_module

    def note_import(module, *args, **kwargs):
        if "antigravity" in str(module) or "owner" in str(module):
            tried.append(module)
        return real_import(module, *args, **kwargs)

    def note_module(module, *args, **kwargs):
        if "antigravity" in str(module) or "owner" in str(module):
            tried.append(module)
        return real_module(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", note_import)
    monkeypatch.setattr(importlib, "import_module", note_module)
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: tried.append("network"))
    monkeypatch.setattr(socket.socket, "connect", lambda *args: tried.append("network"))
    before = set(sys.modules)
    nested = {"model_type": "tiny", "text_config": {name: value}, "list": [{name: value}]}
    for read in (lambda: tiny.from_pretrained(place), lambda: tiny.from_dict(nested)):
        try:
            config = read()
        except ConfigError:
            continue
        config.to_json_string()
        repr(config)
        assert config.attn_implementation is None
    assert tried == []
    assert not {m for m in set(sys.modules) - before if m.startswith(("antigravity", "owner"))}


@given(
    values=st.dictionaries(
        st.sampled_from([*PretrainedConfig.model_fields, "x"]), st.none() | st.integers() | st.text(), max_size=5
    )
)
def test_any_values_are_read_or_refused_by_name(values):
    try:
        config = PretrainedConfig.from_dict(values)
    except ConfigError as error:
        refusal = str(error)
    else:
        assert PretrainedConfig.from_dict(json.loads(config.to_json_string(use_diff=False))) == config
        assert PretrainedConfig.from_dict(json.loads(config.to_json_string())) == config
        return
    assert any(f"`{name}`" in refusal for name in values) or "dtype" in refusal


def test_a_configuration_needs_no_torch():
    code = (
        "import sys\n"
        "from transept.configuration import PretrainedConfig\n"
        "config = PretrainedConfig.from_dict({'torch_dtype': 'bfloat16', 'x': 1})\n"
        "repr(config); config.to_json_string(); config == config.copy_with()\n"
        "assert not {'torch', 'numpy', 'huggingface_hub'} & set(sys.modules), 'torch'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
