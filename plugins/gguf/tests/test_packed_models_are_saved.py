"""A model in a file's blocks is saved as plain tensors with the types in its configuration, and comes back bit for bit."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

pytest.importorskip("transept_llama")

from transept.auto import AutoModel, AutoModelForCausalLM
from transept.errors import TranseptError

Kind = gguf.GGMLQuantizationType
IDS = torch.tensor([[1, 5, 9, 11, 39, 2, 2, 7]])
MIX = {
    "output": Kind.Q6_K,
    "token_embd": Kind.Q5_K,
    "blk.1.ffn_down": Kind.Q6_K,
    "blk.0.attn_v": Kind.Q8_0,
    "blk.1.attn_v": Kind.F32,
}

_PROCESS = """
import sys, torch
from transept import AutoModelForCausalLM
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], automatic_rewrites=False)
with torch.no_grad():
    logits = model(torch.tensor([[1, 5, 9, 11, 39, 2, 2, 7]])).logits
torch.save({"logits": logits, "tensors": dict(model.state_dict())}, sys.argv[2])
"""


def load(path: Path, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, automatic_rewrites=False, **options)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def assert_same(found: Any, expected: Any) -> None:
    here, there = found.state_dict(), expected.state_dict()
    assert list(here) == list(there)
    assert all(here[name].dtype == there[name].dtype and torch.equal(here[name], there[name]) for name in there)
    assert torch.equal(logits(found), logits(expected))


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied"])
@pytest.mark.parametrize("shard", ["5GB", "60KB"], ids=["single", "sharded"])
def test_a_new_process_finds_the_same_model(
    tied: bool, shard: str, write_wide: Callable[..., Path], tmp_path: Path, one_thread: None
) -> None:
    model = load(write_wide(tmp_path / "mix.gguf", Kind.Q4_K, MIX, tied))
    model.save_pretrained(tmp_path / "saved", max_shard_size=shard)
    files = list((tmp_path / "saved").glob("*.safetensors"))
    assert (len(files) > 2) == (shard != "5GB")
    assert sum(file.stat().st_size for file in files) <= 1.15 * (tmp_path / "mix.gguf").stat().st_size
    subprocess.run([sys.executable, "-c", _PROCESS, str(tmp_path / "saved"), str(tmp_path / "found.pt")], check=True)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert torch.equal(found["logits"], logits(model))
    expected = model.state_dict()
    assert found["tensors"].keys() == expected.keys()
    assert all(torch.equal(found["tensors"][name], tensor) for name, tensor in expected.items())
    again = load(tmp_path / "saved")
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    assert again.config.quantization_config.to_dict() == model.config.quantization_config.to_dict()


def test_files_hold_the_blocks_as_bytes(write_wide: Callable[..., Path], tmp_path: Path) -> None:
    model = load(write_wide(tmp_path / "mix.gguf", Kind.Q4_K, MIX))
    model.save_pretrained(tmp_path / "saved")
    stored = load_file(tmp_path / "saved" / "model.safetensors")
    assert stored["model.layers.0.mlp.up_proj.weight"].dtype == torch.uint8
    assert torch.equal(stored["model.layers.0.mlp.up_proj.weight"], model.model.layers[0].mlp.up_proj.weight)
    said = json.loads((tmp_path / "saved" / "config.json").read_text())["quantization_config"]
    assert said["quant_method"] == "gguf"
    assert said["types"]["model.layers.1.mlp.down_proj"] == "Q6_K"


def test_copies_and_state_dicts_are_whole(write_wide: Callable[..., Path], tmp_path: Path) -> None:
    path = write_wide(tmp_path / "mix.gguf", Kind.Q4_K, MIX, tied=True)
    model = load(path)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same(other, model)
        assert other.lm_head.weight is other.model.embed_tokens.weight
        assert other.lm_head.weight is not model.lm_head.weight
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = load(path)
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(state, strict=True)
    assert_same(other, model)


def test_dequantized_it_is_the_model_of_floats(write_wide: Callable[..., Path], tmp_path: Path) -> None:
    path = write_wide(tmp_path / "mix.gguf", Kind.Q4_K, MIX, tied=True)
    floats, model = load(path, dtype="float32"), load(path).dequantize()
    assert model.config.quantization_config is None
    assert type(model.lm_head) is nn.Linear
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert_same(model, floats)
    model.save_pretrained(tmp_path / "saved")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert (logits(theirs) - logits(model)).abs().max() <= 1e-4 * logits(model).abs().max()


def test_base_and_head_read_each_other(write_wide: Callable[..., Path], tmp_path: Path) -> None:
    model = load(write_wide(tmp_path / "mix.gguf", Kind.Q4_K, MIX, tied=True))
    model.save_pretrained(tmp_path / "head")
    base = AutoModel.from_pretrained(tmp_path / "head", automatic_rewrites=False)
    base.save_pretrained(tmp_path / "base")
    again = load(tmp_path / "base")
    assert_same(again, model)


def test_a_torn_or_foreign_table_is_refused(write_wide: Callable[..., Path], tmp_path: Path) -> None:
    model = load(write_wide(tmp_path / "mix.gguf", Kind.Q4_K, MIX))
    saved = tmp_path / "saved"
    model.save_pretrained(saved)
    said = json.loads((saved / "config.json").read_text())

    def assert_refused(words: str, **changes: Any) -> None:
        changed = {**said, "quantization_config": {**said["quantization_config"], **changes}}
        (saved / "config.json").write_text(json.dumps(changed))
        with pytest.raises(TranseptError, match=words):
            load(saved)

    assert_refused("Q9_9", types={"lm_head": "Q9_9"})
    assert_refused("lm_head", types={**said["quantization_config"]["types"], "lm_head": "Q8_0"})
    assert_refused("embed_tokens", types={"lm_head": "Q6_K"})
    assert_refused("names no type", types={})
    (saved / "config.json").write_text(json.dumps(said))
    stored = load_file(saved / "model.safetensors")
    save_file({**stored, "lm_head.weight": stored["lm_head.weight"][:, :-2].contiguous()}, saved / "model.safetensors")
    with pytest.raises(TranseptError, match="lm_head"):
        load(saved)
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(TranseptError, match=r"model\.safetensors"):
        load(saved)
