"""Checkpoints of compressed-tensors: what is refused, and what is left out."""

import pytest
import torch
from transept_compressed_tensors.linear import CompressedLinear
from transept_llama.modeling import LlamaForCausalLM, LlamaModel

from transept import AutoModelForCausalLM, CompressedTensorsConfig
from transept.errors import QuantizationError

IDS = torch.arange(1, 13).view(2, 6)


@pytest.fixture
def packed(checkpoint, weights):
    def make(**more):
        return checkpoint({"_proj": (weights(strategy="group", group_size=16), "pack-quantized")}, **more)

    return make


def test_a_float_checkpoint_is_refused_with_what_quantizes(packed, tmp_path):
    folder, model = packed()
    settings = AutoModelForCausalLM.from_pretrained(folder).config.quantization_config
    model.save_pretrained(tmp_path / "float")
    with pytest.raises(QuantizationError, match="transept quantize MODEL OUT --method gptq --data FILE"):
        LlamaForCausalLM.from_pretrained(tmp_path / "float", quantization_config=settings)
    live = LlamaForCausalLM.from_pretrained(tmp_path / "float")
    with pytest.raises(QuantizationError, match="holds floats"):
        live.quantize(settings)
    assert not live.is_quantized


@torch.no_grad()
def test_a_base_model_reads_a_heads_checkpoint(packed):
    folder, expected = packed()
    model = LlamaModel.from_pretrained(folder)
    assert isinstance(model.layers[0].mlp.up_proj, CompressedLinear)
    assert torch.allclose(model(IDS).last_hidden_state, expected.model(IDS).last_hidden_state, atol=1e-4)


@torch.no_grad()
def test_an_order_that_is_stored_is_followed(packed, weights):
    """`actorder: group` stores the group of each column."""

    def shuffle(tensors):
        for name in [name for name in tensors if name.endswith("weight_packed")]:
            columns = tensors[name].shape[1] * 8
            tensors[name.replace("weight_packed", "weight_g_idx")] = (torch.arange(columns) % (columns // 16)).int()

    ordered = {"g": {"targets": ["Linear"], "weights": weights(strategy="group", group_size=16, actorder="group")}}
    folder, _ = packed(change=shuffle, group_config=ordered)
    layer = AutoModelForCausalLM.from_pretrained(folder).model.layers[0].mlp.down_proj
    integers = layer.dequantize() / layer.weight_scale[:, layer.weight_g_idx]
    assert torch.allclose(integers, integers.round(), atol=1e-4)
    assert layer.weight_g_idx.tolist()[:5] == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("how", ["idle", "active"])
def test_tensors_that_the_scheme_does_not_know_may_be_idle(packed, how):
    def add(tensors):
        for name in [name for name in tensors if name.endswith("weight_scale")]:
            tensors[name.replace("weight_scale", "weight_zero_point")] = torch.full(
                tensors[name].shape, int(how == "active")
            ).char()

    folder, _ = packed(change=add)
    if how == "idle":
        assert AutoModelForCausalLM.from_pretrained(folder).is_quantized
        return
    with pytest.raises(QuantizationError, match="`weight_zero_point` that its scheme does not know"):
        AutoModelForCausalLM.from_pretrained(folder)


@torch.no_grad()
def test_zeros_that_early_writers_did_not_pack_are_read(checkpoint, weights, tmp_path):
    from transept.quantization import unpack_bits

    settings = weights(strategy="group", group_size=16, symmetric=False)

    def unpacked(tensors):
        for name in [name for name in tensors if name.endswith("weight_zero_point")]:
            rows = tensors[name.replace("weight_zero_point", "weight_packed")].shape[0]
            tensors[name] = (unpack_bits(tensors[name], 4, rows, 0).int() - 8).char()

    folder, meant = checkpoint({"_proj": (settings, "pack-quantized")}, change=unpacked)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(model(IDS).logits, meant(IDS).logits, atol=1e-4)


def test_a_wrong_shape_is_refused(packed):
    def wrong(tensors):
        tensors["model.layers.0.mlp.up_proj.weight_shape"] = torch.tensor([64, 31])

    folder, _ = packed(change=wrong)
    with pytest.raises(QuantizationError, match=r"`weight_shape` of `model\.layers\.0\.mlp\.up_proj` is \[64, 31\]"):
        AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"kv_cache_scheme": {"num_bits": 8}}, "kv_cache_scheme", id="cache"),
        pytest.param({"transform_config": {"config_groups": {"u": {}}}}, "transform_config", id="transform"),
        pytest.param({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse-24-bitmask", id="sparse"),
        pytest.param({"config_groups": {}}, "no `config_groups`", id="none"),
        pytest.param({"config_groups": {"W4A16": ["Linear"]}}, "does not say how", id="preset"),
        pytest.param({"dequantize": True}, r"model.dequantize\(\)", id="dequantize"),
        pytest.param({"use_optimized_inference": True}, "use_optimized_inference", id="kernels"),
    ],
)
def test_what_is_not_read_is_refused(packed, change, words):
    folder, _ = packed(config=change.items())
    with pytest.raises(QuantizationError, match=words):
        AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"num_bits": 16}, "16 bits", id="bits"),
        pytest.param({"type": "float", "num_bits": 4}, "4 bits", id="float4"),
        pytest.param({"strategy": "tensor_group"}, "tensor_group", id="strategy"),
        pytest.param({"strategy": "group", "group_size": None}, "group_size", id="group"),
        pytest.param({"strategy": "group", "group_size": 24}, "groups of 24", id="indivisible"),
        pytest.param({"strategy": "channel", "group_size": None}, "settings make it", id="other"),
    ],
)
def test_schemes_that_are_not_read_are_refused(packed, weights, change, words):
    settings = {"g": {"targets": ["Linear"], "weights": {**weights(strategy="group", group_size=16), **change}}}
    folder, _ = packed(group_config=settings)
    with pytest.raises(QuantizationError, match=words):
        AutoModelForCausalLM.from_pretrained(folder)


def test_settings_are_those_of_the_file(packed):
    folder, _ = packed(config={"version": "0.11.0"}.items())
    found = AutoModelForCausalLM.from_pretrained(folder, quantization_config=CompressedTensorsConfig(run_compressed=True))
    assert found.config.quantization_config.to_dict()["version"] == "0.11.0"
    with pytest.raises(QuantizationError, match="format='pack-quantized' and not 'int-quantized'"):
        AutoModelForCausalLM.from_pretrained(folder, quantization_config=CompressedTensorsConfig(format="int-quantized"))
    with pytest.raises(QuantizationError, match=r"model.dequantize\(\)"):
        AutoModelForCausalLM.from_pretrained(folder, quantization_config=CompressedTensorsConfig(run_compressed=False))
