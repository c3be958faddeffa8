"""Checkpoints of compressed-tensors give what they give in the peer, and what we save the peer loads."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transept_compressed_tensors.linear import CompressedLinear

from transept import AutoModelForCausalLM

IDS = torch.arange(1, 13).view(2, 6)
GROUP = {"strategy": "group", "group_size": 16}
FLOAT8 = {"type": "float", "num_bits": 8}
TOKEN = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}

CASES = {
    "pack 4": ({}, "pack-quantized", None),
    "pack 4 group": (GROUP, "pack-quantized", None),
    "pack 4 group zeros": ({**GROUP, "symmetric": False}, "pack-quantized", None),
    "pack 8 group": ({**GROUP, "num_bits": 8}, "pack-quantized", None),
    "pack 3 zeros": ({"num_bits": 3, "symmetric": False}, "pack-quantized", None),
    "pack 2 tensor": ({"num_bits": 2, "strategy": "tensor"}, "pack-quantized", None),
    "int 8": ({"num_bits": 8}, "int-quantized", TOKEN),
    "int 8 zeros": ({"num_bits": 8, "symmetric": False, "strategy": "tensor"}, "int-quantized", {**TOKEN, "symmetric": False}),
    "naive int 8 group": ({**GROUP, "num_bits": 8, "symmetric": False}, "naive-quantized", None),
    "float 8": (FLOAT8, "float-quantized", {**TOKEN, **FLOAT8}),
    "float 8 tensor": (
        {**FLOAT8, "strategy": "tensor"},
        "float-quantized",
        {**TOKEN, **FLOAT8, "strategy": "tensor", "dynamic": False},
    ),
    "float 8 block": ({**FLOAT8, "strategy": "block", "block_structure": [16, 8]}, "naive-quantized", None),
}


UNREAD = {"pack 4 group zeros", "pack 3 zeros"}
"""The peer makes packed zeros a place of another shape and refuses them (5.23 with compressed-tensors 0.20)."""


def close(found, expected):
    return float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def peer(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_logits_are_the_peers_both_ways(checkpoint, weights, tmp_path, case):
    settings, layout, inputs = CASES[case]
    folder, meant = checkpoint({"_proj": (weights(**settings), layout)}, inputs)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(isinstance(module, CompressedLinear) for module in model.modules()) == 14
    assert type(model.lm_head) is torch.nn.Linear
    found = model(IDS).logits
    assert case in UNREAD or close(found, peer(folder)(IDS).logits)
    if inputs is None:
        assert close(found, meant(IDS).logits)
    model.save_pretrained(tmp_path / "ours")
    assert case in UNREAD or close(peer(tmp_path / "ours")(IDS).logits, found)
    stored, again = (load_file(one / "model.safetensors") for one in (folder, tmp_path / "ours"))
    assert stored.keys() == again.keys()
    for name, tensor in stored.items():
        assert again[name].dtype == tensor.dtype, name
        assert torch.equal(again[name].view(torch.uint8), tensor.view(torch.uint8)), name
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert torch.equal(reloaded(IDS).logits, found)
    dense = model.dequantize()
    for name, parameter in meant.named_parameters():
        assert torch.allclose(dense.get_parameter(name), parameter, atol=1e-7), name


@torch.no_grad()
def test_groups_of_layers_have_schemes_of_their_own(checkpoint, weights, tmp_path):
    """Integers of 4 bits in the attention, 8-bit floats in `down_proj`; the other layers are left as they are."""
    attention = weights(**GROUP)
    every = {f"self_attn.{one}_proj": (attention, "pack-quantized") for one in "qkvo"}
    every["down_proj"] = (weights(**FLOAT8), "float-quantized")
    described = {
        "first": {"targets": ["re:.*self_attn.(q|k|v|o)_proj$"], "weights": attention, "format": "pack-quantized"},
        "second": {"targets": ["re:.*down_proj"], "weights": weights(**FLOAT8), "format": "float-quantized"},
    }
    folder, meant = checkpoint(every, group_config=described, config={"ignore": ["lm_head", "re:.*(gate|up)_proj"]}.items())
    model = AutoModelForCausalLM.from_pretrained(folder)
    kinds = {
        path.rpartition(".")[2]: module.scheme.bits
        for path, module in model.named_modules()
        if isinstance(module, CompressedLinear)
    }
    assert kinds == {"q_proj": 4, "k_proj": 4, "v_proj": 4, "o_proj": 4, "down_proj": 8}
    found = model(IDS).logits
    assert close(found, meant(IDS).logits)
    assert close(found, peer(folder)(IDS).logits)
    model.save_pretrained(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["quantization_config"]["config_groups"] == described
    assert close(peer(tmp_path / "ours")(IDS).logits, found)
