"""Checkpoints that AWQ packed: loaded, run, saved and loaded again."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transept_awq.linear import AWQGemmLinear, AWQLinear
from transept_llama.modeling import LlamaForCausalLM, LlamaModel

from transept import AutoModelForCausalLM, AwqConfig
from transept.errors import QuantizationError

IDS = torch.arange(1, 13).view(2, 6)


def close(found, expected):
    return float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="gemm"),
        pytest.param({"version": "gemv", "bias": True}, id="gemv"),
        pytest.param({"middle": True, "without": ("qzeros",), "size": 16}, id="no-zeros"),
    ],
)
@torch.no_grad()
def test_logits_are_those_of_the_weights_that_are_meant(checkpoint, settings):
    folder, expected = checkpoint(**settings)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(isinstance(module, AWQLinear) for module in model.modules()) == 14
    assert type(model.lm_head) is torch.nn.Linear
    assert close(model(IDS).logits, expected(IDS).logits)
    assert torch.equal(model.dequantize().model.layers[1].mlp.up_proj.weight, expected.model.layers[1].mlp.up_proj.weight)


@pytest.mark.parametrize("version", ["gemm", "gemv"])
@torch.no_grad()
def test_what_is_saved_is_the_same_file(checkpoint, tmp_path, version):
    folder, _ = checkpoint(version)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.to(torch.bfloat16)  # nothing of the packed tensors follows
    model.save_pretrained(tmp_path / "again")
    stored, again = (load_file(one / "model.safetensors") for one in (folder, tmp_path / "again"))
    assert stored.keys() == again.keys()
    for name, tensor in stored.items():
        if name.rpartition(".")[2] in ("qweight", "qzeros", "scales"):
            assert again[name].dtype == tensor.dtype
            assert torch.equal(again[name], tensor)
    settings = json.loads((tmp_path / "again" / "config.json").read_text())["quantization_config"]
    assert settings["version"] == version


@torch.no_grad()
def test_a_base_model_reads_a_heads_checkpoint(checkpoint):
    folder, expected = checkpoint()
    model = LlamaModel.from_pretrained(folder)
    assert isinstance(model.layers[0].mlp.up_proj, AWQGemmLinear)
    assert close(model(IDS).last_hidden_state, expected.model(IDS).last_hidden_state)


def test_a_float_checkpoint_is_refused_with_what_quantizes(checkpoint, tmp_path):
    _, model = checkpoint()
    model.save_pretrained(tmp_path / "float")
    with pytest.raises(QuantizationError, match="transept quantize MODEL OUT --method gptq --data FILE"):
        LlamaForCausalLM.from_pretrained(tmp_path / "float", quantization_config=AwqConfig())
    live = LlamaForCausalLM.from_pretrained(tmp_path / "float")
    with pytest.raises(QuantizationError, match="holds floats"):
        live.quantize(AwqConfig(group_size=16))
    assert not live.is_quantized


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"version": "gemv_fast"}, "version='gemv_fast'", id="fast"),
        pytest.param({"backend": "llm-awq"}, "version='llm-awq'", id="llm-awq"),
        pytest.param({"bits": 8}, "bits=8", id="bits"),
        pytest.param({"group_size": 24}, "groups of 24", id="group"),
        pytest.param({"group_size": 16}, "settings make it", id="other-group"),
        pytest.param({"version": "gemv"}, "settings make it", id="other-order"),
    ],
)
def test_other_layouts_are_refused(checkpoint, change, words):
    folder, _ = checkpoint(config=change.items())
    with pytest.raises(QuantizationError, match=words):
        AutoModelForCausalLM.from_pretrained(folder)


def test_scaled_activations_are_refused(checkpoint):
    folder, _ = checkpoint(extra={"model.layers.0.mlp.act.scales": torch.ones(64)}.items())
    with pytest.raises(QuantizationError, match="scaled the activations"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_settings_have_the_peers_names():
    import transformers

    ours, theirs = AwqConfig().to_dict(), transformers.AwqConfig().to_dict()
    for name in ("bits", "group_size", "zero_point", "modules_to_not_convert", "version", "format"):
        assert ours[name] == getattr(theirs[name], "value", theirs[name])
    assert ours["backend"] == getattr(theirs["backend"], "value", theirs["backend"])
    assert AwqConfig(4, 64, version="GEMV").format == "gemv"
    assert AwqConfig.from_dict({"version": "GEMM", "do_fuse": False}).to_dict()["do_fuse"] is False
