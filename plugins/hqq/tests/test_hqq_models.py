"""Models quantized by HQQ while they load, and checkpoints of it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transept_hqq.linear import HQQLinear
from transept_llama.configuration import LlamaConfig
from transept_llama.modeling import LlamaForCausalLM

from transept import AutoModelForCausalLM, HqqConfig
from transept.errors import QuantizationError, UnknownArgumentError

IDS = torch.arange(1, 13).view(2, 6)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=99,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "float")
    return tmp_path / "float"


def kinds(model):
    return {path: module.layout for path, module in model.named_modules() if isinstance(module, HQQLinear)}


@torch.no_grad()
def test_fewer_bits_are_further_from_the_floats(folder):
    expected = AutoModelForCausalLM.from_pretrained(folder)(IDS).logits
    errors = []
    for name in ("hqq-8bit", "hqq-4bit", "hqq-2bit", "hqq-1bit"):
        config = HqqConfig(nbits=int(name[4]), group_size=16) if name != "hqq-4bit" else HqqConfig(group_size=32)
        model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config)
        assert len(kinds(model)) == 14
        errors.append(float((model(IDS).logits - expected).norm() / expected.norm()))
    assert errors == sorted(errors)
    assert errors[0] < 0.01
    assert errors[1] < 0.15


@torch.no_grad()
def test_hqqs_own_checkpoint_gives_what_hqq_gives(folder, tmp_path):
    quantize = pytest.importorskip("hqq.core.quantize")
    reference = AutoModelForCausalLM.from_pretrained(folder)
    tensors = dict(reference.state_dict())
    for path, module in list(reference.named_modules()):
        if type(module) is torch.nn.Linear and path != "lm_head":
            settings = quantize.BaseQuantizeConfig(nbits=4, group_size=32, axis=1)
            layer = quantize.HQQLinear(module, settings, compute_dtype=torch.float32, device="cpu", del_orig=False)
            del tensors[f"{path}.weight"]
            tensors.update({f"{path}.{name}": value.contiguous() for name, value in layer.state_dict().items()})
            module.weight.copy_(layer.dequantize())
    packed = tmp_path / "packed"
    packed.mkdir()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, packed / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "hqq",
        "quant_config": quantize.BaseQuantizeConfig(nbits=4, group_size=32, axis=1),
        "skip_modules": ["lm_head"],
    }
    (packed / "config.json").write_text(json.dumps(config))
    model = AutoModelForCausalLM.from_pretrained(packed)
    assert len(kinds(model)) == 14
    assert torch.allclose(model(IDS).logits, reference(IDS).logits, atol=1e-5)
    model.save_pretrained(tmp_path / "again")
    stored, again = (load_file(one / "model.safetensors") for one in (packed, tmp_path / "again"))
    assert stored.keys() == again.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in stored.items())
    settings = json.loads((tmp_path / "again" / "config.json").read_text())["quantization_config"]
    assert {name: settings[name] for name in config["quantization_config"]} == config["quantization_config"]


def test_layers_have_settings_of_their_own(folder):
    config = HqqConfig(
        dynamic_config={"self_attn.q_proj": {"nbits": 8, "group_size": 64}, "mlp.down_proj": {"nbits": 2, "group_size": 16}}
    )
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config)
    assert {(path.rpartition(".")[2], layout.bits, layout.group_size) for path, layout in kinds(model).items()} == {
        ("q_proj", 8, 64),
        ("down_proj", 2, 16),
    }
    skipping = HqqConfig(group_size=32, skip_modules=["mlp.down_proj"])
    paths = kinds(AutoModelForCausalLM.from_pretrained(folder, quantization_config=skipping))
    assert {path.rpartition(".")[2] for path in paths} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "lm_head",
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"nbits": 5}, "nbits=5", id="bits"),
        pytest.param({"group_size": 12}, "group_size=12", id="group"),
        pytest.param({"axis": 2}, "axis=2", id="axis"),
        pytest.param({"group_size": 40}, "groups of 40", id="indivisible"),
        pytest.param({"quant_config": {}}, "weight_quant_params", id="empty"),
        pytest.param({"quant_config": {"weight_quant_params": {"nbits": 4}}}, "`axis`", id="part"),
    ],
)
def test_what_does_not_fit_is_refused(folder, settings, words):
    with pytest.raises(QuantizationError, match=words):
        AutoModelForCausalLM.from_pretrained(folder, quantization_config=HqqConfig(**settings))


def test_unknown_words_are_told():
    with pytest.raises(UnknownArgumentError, match="nbit"):
        HqqConfig(dynamic_config={"q": {"nbit": 4}})
    with pytest.raises(UnknownArgumentError, match="group"):
        HqqConfig(group=4)


def test_settings_of_other_weights_are_refused(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=HqqConfig(group_size=32))
    model.save_pretrained(tmp_path / "packed")
    config = json.loads((tmp_path / "packed" / "config.json").read_text())
    config["quantization_config"]["quant_config"]["weight_quant_params"]["group_size"] = 16
    del config["quantization_config"]["group_size"]
    (tmp_path / "packed" / "config.json").write_text(json.dumps(config))
    with pytest.raises(QuantizationError, match=r"`group_size` of `model\.layers\.0.*is 32, and the settings make it 16"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "packed")


def test_the_four_and_what_files_have_are_two_spellings():
    first = HqqConfig(nbits=3, group_size=32, axis=0)
    read = HqqConfig.from_dict({"quant_method": "hqq", "quant_config": first.quant_config, "skip_modules": ["lm_head"]})
    assert (read.nbits, read.group_size, read.axis) == (3, 32, 0)
    assert read.to_dict() == first.to_dict()
    assert HqqConfig(4, 16).quant_config["weight_quant_params"]["group_size"] == 16
    assert HqqConfig(group_size=None).quant_config["weight_quant_params"]["group_size"] is None
    with pytest.raises(QuantizationError, match="contradict"):
        HqqConfig(nbits=4, quant_config=first.quant_config)
    given = {name: getattr(first, name) for name in first.model_fields_set}
    assert HqqConfig(**{**given, "nbits": 2}).quant_config["weight_quant_params"]["nbits"] == 2
