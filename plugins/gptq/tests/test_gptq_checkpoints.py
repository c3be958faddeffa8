"""Checkpoints that GPTQ packed: loaded, run, saved and loaded again."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transept_gptq.linear import GPTQLinear
from transept_llama.modeling import LlamaForCausalLM, LlamaModel

from transept import AutoModelForCausalLM, GPTQConfig
from transept.errors import QuantizationError

IDS = torch.arange(1, 13).view(2, 6)


def close(found, expected):
    return float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="4bit"),
        pytest.param({"bits": 8, "size": 32}, id="8bit"),
        pytest.param({"bits": 3, "version": 2, "sym": False}, id="3bit-v2"),
        pytest.param({"bits": 2, "shuffled": True}, id="2bit-act"),
    ],
)
@torch.no_grad()
def test_logits_are_those_of_the_weights_that_are_meant(checkpoint, settings):
    folder, expected = checkpoint(**settings)
    model = AutoModelForCausalLM.from_pretrained(folder)
    packed = {path for path, module in model.named_modules() if isinstance(module, GPTQLinear)}
    assert len(packed) == 14
    assert type(model.lm_head) is torch.nn.Linear
    assert close(model(IDS).logits, expected(IDS).logits)
    assert torch.equal(model.dequantize().model.layers[1].mlp.up_proj.weight, expected.model.layers[1].mlp.up_proj.weight)


@torch.no_grad()
def test_what_is_saved_is_the_same_file(checkpoint, tmp_path):
    folder, _ = checkpoint(version=2)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.to(torch.bfloat16)  # nothing of the packed tensors follows
    model.save_pretrained(tmp_path / "again", max_shard_size="20KB")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    stored = load_file(folder / "model.safetensors")
    held = again.state_dict()
    for name, tensor in stored.items():
        if name.rpartition(".")[2] in ("qweight", "qzeros", "scales", "g_idx"):
            assert held[name].dtype == tensor.dtype
            assert torch.equal(held[name], tensor)
    settings = json.loads((tmp_path / "again" / "config.json").read_text())["quantization_config"]
    assert settings["checkpoint_format"] == settings["format"] == "gptq_v2"
    assert settings["bits"] == 4


@torch.no_grad()
def test_groups_that_are_not_stored_are_in_the_order_of_the_columns(checkpoint):
    folder, expected = checkpoint(without=("g_idx",))
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert close(model(IDS).logits, expected(IDS).logits)


@torch.no_grad()
def test_a_base_model_reads_a_heads_checkpoint(checkpoint):
    folder, expected = checkpoint()
    model = LlamaModel.from_pretrained(folder)
    assert isinstance(model.layers[0].mlp.up_proj, GPTQLinear)
    assert close(model(IDS).last_hidden_state, expected.model(IDS).last_hidden_state)


def test_a_float_checkpoint_is_refused_with_the_command_that_quantizes(checkpoint, tmp_path):
    _, model = checkpoint()
    model.save_pretrained(tmp_path / "float")
    with pytest.raises(QuantizationError, match="transept quantize MODEL OUT --method gptq --data FILE"):
        LlamaForCausalLM.from_pretrained(tmp_path / "float", quantization_config=GPTQConfig(bits=4))
    live = LlamaForCausalLM.from_pretrained(tmp_path / "float")
    with pytest.raises(QuantizationError, match="transept quantize MODEL OUT --method gptq --data FILE"):
        live.quantize(GPTQConfig(bits=4, group_size=16))
    assert not live.is_quantized


def test_settings_of_other_weights_are_refused_by_name(checkpoint):
    folder, _ = checkpoint(config={"bits": 8}.items())
    with pytest.raises(QuantizationError, match=r"`qweight` of `model\.layers\.0\..*`quantization_config`"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_a_damaged_group_is_refused(checkpoint):
    from safetensors.torch import save_file

    folder, _ = checkpoint()
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.g_idx"][3] = 99
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(QuantizationError, match=r"`g_idx` of `model\.layers\.1\.mlp\.down_proj` names groups beyond"):
        AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"checkpoint_format": "marlin"}, "format='marlin'", id="format"),
        pytest.param({"is_marlin_format": True}, "Marlin", id="marlin"),
        pytest.param({"dynamic": {"-:.*mlp.*": {}}}, "regular expressions", id="dynamic"),
        pytest.param({"pack_dtype": "int16"}, "pack_dtype='int16'", id="pack_dtype"),
        pytest.param({"bits": 5}, "bits", id="bits"),
        pytest.param({"group_size": 0}, "group_size", id="group_size"),
    ],
)
def test_other_layouts_are_refused(checkpoint, change, words):
    folder, _ = checkpoint(config=change.items())
    with pytest.raises(QuantizationError, match=words):
        AutoModelForCausalLM.from_pretrained(folder)


def test_settings_have_the_peers_names_and_defaults():
    import transformers

    ours, theirs = GPTQConfig(bits=3).to_dict(), transformers.GPTQConfig(bits=3).to_dict()
    assert set(theirs) <= set(ours)
    same = set(theirs) - {"quant_method", "backend"}
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert GPTQConfig(4).bits == 4
    assert GPTQConfig(bits=4, tokenizer=object()).to_dict()["tokenizer"] is None
