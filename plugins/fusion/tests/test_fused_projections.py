"""Fused blocks compute what the separate ones do, and are saved, loaded and undone as if nothing had been fused."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transept_fusion.blocks import FusedGatedMLP, FusedSelfAttention
from transept_fusion.rewrite import FuseProjections

from transept.attention import MaskSpec
from transept.checkpoints import load_checkpoint, open_safetensors, save_tensors
from transept.discovery import registry
from transept.errors import RewriteError
from transept.files import DirectoryLocation
from transept.nn import GatedMLP, SelfAttention
from transept.rewrite import apply_live, make_rewrite, original_tensors, undo


class Block(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.self_attn = SelfAttention(
            32, num_heads=4, num_key_value_heads=2, head_dim=8, layer_idx=0, bias=bias, output_bias=False
        )
        self.mlp = GatedMLP(32, 48, "silu", bias=bias)

    def forward(self, x, angles):
        mask = MaskSpec("causal", query_length=x.shape[1], key_length=x.shape[1])
        x = x + self.self_attn(x, mask=mask, position_embeddings=angles)[0]
        return x + self.mlp(x)


class Tower(nn.Module):
    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(bias) for _ in range(2))

    def forward(self, x):
        turns = torch.arange(x.shape[1]).float()[:, None] / torch.tensor([1.0, 2.0, 4.0, 8.0] * 2)
        angles = (turns.cos()[None].to(x.dtype), turns.sin()[None].to(x.dtype))
        for layer in self.layers:
            x = layer(x, angles)
        return x


@pytest.fixture(params=[False, True], ids=["no bias", "bias"])
def tower(request):
    torch.manual_seed(0)
    return Tower(request.param)


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randn(2, 5, 32)


def test_the_installed_plugin_offers_it():
    made, record = make_rewrite("fuse_projections", None), registry.get("rewrites", "fuse_projections")
    assert isinstance(made, FuseProjections)
    assert (made.key, made.order, made.undoable, made.ties) == (record.key, record.order, record.undoable, record.ties)


def test_outputs_and_gradients_are_those_of_the_separate_projections(tower, inputs):
    plain = copy.deepcopy(tower)
    apply_live(tower, FuseProjections())
    expected, found = plain(inputs), tower(inputs)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    expected.square().sum().backward()
    found.square().sum().backward()
    separate = plain.layers[0].self_attn
    together = torch.cat([separate.q_proj.weight.grad, separate.k_proj.weight.grad, separate.v_proj.weight.grad])
    torch.testing.assert_close(tower.layers[0].self_attn.qkv_proj.weight.grad, together, atol=1e-4, rtol=1e-4)


def test_modules_are_fused_and_the_rest_is_shared(tower):
    attention, o_proj = tower.layers[1].self_attn.attention, tower.layers[1].self_attn.o_proj
    apply_live(tower, FuseProjections())
    block = tower.layers[1].self_attn
    assert type(block) is FusedSelfAttention
    assert block.attention is attention
    assert block.o_proj is o_proj
    assert block.qkv_proj.out_features == (4 + 2 + 2) * 8
    assert type(tower.layers[0].mlp) is FusedGatedMLP
    assert not any(
        "q_proj" in name or (name.endswith("up_proj.weight") and "gate" not in name) for name, _ in tower.named_parameters()
    )
    assert [(one.key, one.path) for one in tower.applied_rewrites] == [
        ("fuse_projections", f"layers.{i}.{part}") for i in range(2) for part in ("self_attn", "mlp")
    ]


def test_undo_gives_back_names_classes_and_bits(tower, inputs):
    before, output = {n: t.clone() for n, t in tower.state_dict().items()}, tower(inputs)
    apply_live(tower, FuseProjections())
    undo(tower, "fuse_projections")
    after = tower.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert type(tower.layers[0].self_attn) is SelfAttention
    assert torch.equal(tower(inputs), output)
    assert tower.applied_rewrites == []
    weight = tower.layers[0].self_attn.q_proj.weight
    assert weight.untyped_storage().nbytes() == weight.nbytes


def test_a_fused_model_is_saved_in_the_original_layout(tower, tmp_path, inputs):
    before = {n: t.clone() for n, t in tower.state_dict().items()}
    apply_live(tower, FuseProjections())
    found = load_file(save_tensors(tmp_path, original_tensors(tower)))
    assert found.keys() == before.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_applied_while_loading(tower, tmp_path, inputs, dtype):
    save_tensors(tmp_path, tower.state_dict())
    with torch.device("meta"):
        model = Tower(bias=tower.layers[0].mlp.up_proj.bias is not None)
    with open_safetensors(DirectoryLocation(tmp_path)) as reader:
        report = load_checkpoint(model, reader, rewrites=[FuseProjections()], dtype=dtype)
    assert len(report.rewritten) == 4
    assert {p.dtype for p in model.parameters()} == {dtype}
    tower.to(dtype)
    torch.testing.assert_close(
        model(inputs.to(dtype)), tower(inputs.to(dtype)), atol=1e-6 if dtype == torch.float32 else 0.05, rtol=1e-2
    )
    undo(model, "fuse_projections")
    assert all(torch.equal(tensor, tower.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_copies_and_pickles_are_independent(tower, inputs):
    apply_live(tower, FuseProjections())
    expected = tower(inputs)
    for twin in (copy.deepcopy(tower), pickle.loads(pickle.dumps(tower))):
        assert torch.equal(twin(inputs), expected)
        undo(twin, "fuse_projections")
        torch.testing.assert_close(twin(inputs), expected, atol=1e-6, rtol=1e-6)
    assert type(tower.layers[0].mlp) is FusedGatedMLP


def test_training_flags_and_frozen_parameters_are_kept(tower):
    tower.requires_grad_(False).eval()
    apply_live(tower, FuseProjections())
    assert not any(module.training for module in tower.modules())
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    tower.train().requires_grad_(True)
    undo(tower, "fuse_projections")
    assert all(module.training for module in tower.modules())
    assert all(parameter.requires_grad for parameter in tower.parameters())


def test_blocks_with_other_projections_are_left_alone(tower):
    class Adapted(nn.Linear):
        pass

    tower.layers[0].self_attn.k_proj = Adapted(32, 16)
    apply_live(tower, FuseProjections())
    assert type(tower.layers[0].self_attn) is SelfAttention
    assert type(tower.layers[1].self_attn) is FusedSelfAttention


def test_a_second_time_is_refused(tower):
    apply_live(tower, FuseProjections())
    with pytest.raises(RewriteError, match="applied before"):
        apply_live(tower, FuseProjections())


@pytest.mark.slow
def test_it_is_exported_in_one_graph(tower, inputs):
    apply_live(tower, FuseProjections())
    expected = tower(inputs)
    exported = torch.export.export(tower, (inputs,), strict=False)
    torch.testing.assert_close(exported.module()(inputs), expected)
