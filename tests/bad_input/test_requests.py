"""A wrong request gets one clear error, and what was there before is still there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import transept
from transept import errors, registry


@pytest.fixture
def folder(peer_llama) -> Path:
    return peer_llama(eos_token_id=None)


def change_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.update(values)
    (folder / "config.json").write_text(json.dumps(config))


def test_an_unknown_model_type_names_the_wheel(folder: Path, monkeypatch) -> None:
    index = registry._index()  # as if its dist were not installed
    monkeypatch.setattr(registry._state, "plugins", {})
    for kind in ("models", "configs"):
        monkeypatch.setitem(index.offers, kind, {key: value for key, value in index.offers[kind].items() if key != "qwen3"})
    change_config(folder, model_type="qwen3")
    with pytest.raises(errors.PluginNotFoundError, match="pip install transept-qwen3"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


def test_a_near_miss_of_a_model_type_is_suggested(folder: Path) -> None:
    change_config(folder, model_type="lama")
    with pytest.raises(errors.PluginNotFoundError, match="llama"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


def test_a_config_without_model_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.ConfigError, match="model_type"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", "big"),
        ("num_hidden_layers", -1),
        ("vocab_size", 0),
        ("num_attention_heads", [6]),
        ("rms_norm_eps", None),
        ("model_type", 7),
    ],
)
def test_a_config_value_of_the_wrong_type_is_named(folder: Path, field: str, value) -> None:
    change_config(folder, **{field: value})
    with pytest.raises(errors.ConfigError, match=field):
        transept.AutoModelForCausalLM.from_pretrained(folder)


def test_a_config_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", ')
    with pytest.raises(errors.CorruptFileError, match=r"config\.json"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


def test_a_wrong_task_lists_the_tasks_there_are(folder: Path) -> None:
    with pytest.raises(errors.UnsupportedTaskError, match="AutoModelForCausalLM"):
        transept.AutoModelForMaskedLM.from_pretrained(folder)


def test_an_unknown_keyword_suggests_the_known_one(folder: Path) -> None:
    with pytest.raises(errors.UnknownArgumentError, match="attn_implementation"):
        transept.AutoModelForCausalLM.from_pretrained(folder, attn_implementatoin="sdpa")
    with pytest.raises(TypeError, match="num_hidden_layers"):
        transept.LlamaConfig(num_hiden_layers=3)


def test_remote_code_and_pickles_are_refused(folder: Path) -> None:
    with pytest.raises(errors.UnknownArgumentError, match="trust_remote_code"):
        transept.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(errors.CheckpointNotFoundError, match="pickled"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


def test_nothing_at_the_name(tmp_path: Path) -> None:
    with pytest.raises(errors.CheckpointNotFoundError, match="nowhere"):
        transept.AutoModelForCausalLM.from_pretrained(str(tmp_path / "nowhere"))
    with pytest.raises(errors.CheckpointNotFoundError):
        transept.AutoModelForCausalLM.from_pretrained("someone/some-model-that-is-nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.CheckpointNotFoundError, match=r"config\.json"):
        transept.AutoModelForCausalLM.from_pretrained(tmp_path / "empty")


def test_missing_weights_are_an_error_that_names_them(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(errors.MissingTensorsError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


def test_a_wrong_shape_is_an_error_that_gives_both(folder: Path) -> None:
    change_config(folder, intermediate_size=96)
    with pytest.raises(errors.ShapeMismatchError, match=r"(96.*80|80.*96)"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("where", [0, 4, 9, 200, 5000, -1])
def test_a_truncated_or_flipped_file_never_gives_a_model(folder: Path, where: int) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: where if where >= 0 else len(whole) - 1])
    with pytest.raises(errors.CheckpointError, match=r"model\.safetensors"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


def test_a_shard_outside_the_folder_is_refused(peer_llama, tmp_path: Path) -> None:
    folder = peer_llama("sharded", max_shard_size="40KB")
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    secret = tmp_path / "secret.safetensors"
    shutil.copy(folder / next(iter(content["weight_map"].values())), secret)
    for name in ("../secret.safetensors", str(secret)):
        first = next(iter(content["weight_map"]))
        changed = {**content, "weight_map": {**content["weight_map"], first: name}}
        index.write_text(json.dumps(changed))
        with pytest.raises(errors.UnsafePathError, match="secret"):
            transept.AutoModelForCausalLM.from_pretrained(folder)


def test_both_spellings_of_dtype_must_agree(folder: Path) -> None:
    with pytest.raises(errors.InputError, match="torch_dtype"):
        transept.AutoModelForCausalLM.from_pretrained(folder, dtype="float32", torch_dtype="float16")
    assert transept.AutoModelForCausalLM.from_pretrained(folder, torch_dtype="float16").dtype == torch.float16


def test_a_head_that_is_drawn_at_random_is_said(folder: Path) -> None:
    with pytest.warns(UserWarning, match=r"score\.weight.*random"):
        transept.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)


def test_a_padding_id_outside_the_vocabulary(folder: Path) -> None:
    change_config(folder, pad_token_id=131)
    with pytest.raises(errors.ConfigError, match="pad_token_id"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


def test_a_malformed_preference_is_named(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("TRANSEPT_PREFER", "bogus")
    with pytest.raises(errors.PluginError, match="TRANSEPT_PREFER"):
        transept.AutoModelForCausalLM.from_pretrained(folder)


class TestGenerate:
    @pytest.fixture
    def model(self, folder: Path):
        return transept.AutoModelForCausalLM.from_pretrained(folder)

    def test_a_prompt_longer_than_the_context(self, model) -> None:
        with pytest.raises(errors.GenerationError, match="128"):
            model.generate(torch.ones((1, 200), dtype=torch.long), max_new_tokens=5)

    def test_no_new_tokens(self, model) -> None:
        ids = torch.tensor([[5, 6, 7]])
        assert torch.equal(model.generate(ids, max_new_tokens=0), ids)

    def test_an_empty_prompt_starts_from_bos_or_says_why_not(self, model) -> None:
        out = model.generate(torch.empty((1, 0), dtype=torch.long), max_new_tokens=3, do_sample=False)
        assert out[0, 0] == model.config.bos_token_id
        model.generation_config.bos_token_id = model.config.bos_token_id = None
        with pytest.raises(errors.GenerationError, match="bos"):
            model.generate(torch.empty((1, 0), dtype=torch.long), max_new_tokens=3)

    def test_token_ids_outside_the_vocabulary(self, model) -> None:
        with pytest.raises((errors.InputError, errors.GenerationError), match="500"):
            model.generate(torch.tensor([[5, 500]]), max_new_tokens=2)

    def test_an_unknown_argument(self, model) -> None:
        with pytest.raises(errors.UnknownArgumentError, match="temperature"):
            model.generate(torch.tensor([[5]]), temprature=0.5)

    def test_a_cache_config_may_say_the_length(self, model) -> None:
        ids = torch.tensor([[5, 6, 7]])
        want = model.generate(ids, max_new_tokens=4, do_sample=False)
        static = {"cache_implementation": "static", "cache_config": {"max_cache_len": 64}}
        assert torch.equal(model.generate(ids, max_new_tokens=4, do_sample=False, **static), want)

    def test_a_strategy_that_is_not_installed_names_its_wheel(self, model) -> None:
        with pytest.raises(errors.PluginNotFoundError, match="pip install transept-contrastive"):
            model.generate(torch.tensor([[5]]), penalty_alpha=0.6, top_k=4, max_new_tokens=2)

    def test_a_refused_kernel_leaves_the_model_as_it_was(self, model) -> None:
        ids = torch.tensor([[5, 6]])
        want = model(ids).logits
        for name in ("flash_attention_1", "owner/kernel"):
            with pytest.raises(errors.PluginNotFoundError, match=name):
                model.set_attention(name)
            model.config.attn_implementation = name
            with pytest.raises(errors.PluginNotFoundError, match=name):
                model(ids)
        model.config.attn_implementation = "sdpa"
        torch.testing.assert_close(model(ids).logits, want)

    def test_weights_asked_of_a_kernel_that_has_none(self, model) -> None:
        model.set_attention("sdpa")
        with pytest.raises(errors.AttentionError, match="eager"):
            model(torch.tensor([[5, 6]]), output_attentions=True)
        model.set_attention("auto")
        assert len(model(torch.tensor([[5, 6]]), output_attentions=True).attentions) == 3


def test_a_full_disk_leaves_the_old_model_whole(folder: Path, monkeypatch) -> None:
    model = transept.AutoModelForCausalLM.from_pretrained(folder, mmap=False)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.SaveError, match="space"):
        model.save_pretrained(folder)
    monkeypatch.setattr(os, "fsync", real)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.slow
def test_a_kill_while_saving_leaves_a_model_that_loads(folder: Path) -> None:
    code = (
        "import sys, torch, transept\n"
        f"model = transept.AutoModelForCausalLM.from_pretrained({str(folder)!r})\n"
        "print('ready', flush=True)\nvalue = 0.0\n"
        "while True:\n"
        "    value += 1.0\n"
        "    for p in model.parameters():\n        p.data.fill_(value)\n"
        f"    model.save_pretrained({str(folder)!r}, max_shard_size=('40KB' if value % 2 else '5GB'))\n"
    )
    for delay in (0.02, 0.05, 0.11, 0.17, 0.23):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline().strip() == "ready"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        model = transept.AutoModelForCausalLM.from_pretrained(folder)
        values = {float(p.flatten()[0]) for p in model.parameters()}
        assert all(torch.equal(p, torch.full_like(p, float(p.flatten()[0]))) for p in model.parameters()) or len(values) > 1
        assert len(values) == 1 or delay == 0.02, f"tensors of two saves in one model: {values}"
