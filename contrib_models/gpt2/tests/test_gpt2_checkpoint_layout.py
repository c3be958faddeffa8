"""Files hold (in, out) as the original code's convolutions, modules (out, in) as `torch.nn.Linear`: each way, for every door."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transept_gpt2.configuration import GPT2Config
from transept_gpt2.double_heads import GPT2DoubleHeadsModel
from transept_gpt2.layout import CONV1D
from transept_gpt2.modeling import GPT2LMHeadModel, GPT2Model

from transept.errors import MissingTensorsError
from transept.rewrite import Rewrite

TINY = {"vocab_size": 61, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "bos_token_id": 1}
STORED = {"attn.c_attn": (16, 48), "attn.c_proj": (16, 16), "mlp.c_fc": (16, 24), "mlp.c_proj": (24, 16)}
CROSS = {"crossattention.c_attn": (16, 32), "crossattention.q_attn": (16, 16), "crossattention.c_proj": (16, 16)}
IDS = torch.arange(14).reshape(2, 7)


def make(kind=GPT2LMHeadModel, **changes):
    torch.manual_seed(0)
    return kind(GPT2Config(**TINY, **changes)).eval()


def assert_same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("cross", [False, True], ids=["decoder", "cross-attention"])
@pytest.mark.parametrize(
    ("kind", "prefix"), [(GPT2LMHeadModel, "transformer."), (GPT2DoubleHeadsModel, "transformer."), (GPT2Model, "")]
)
def test_files_hold_what_the_original_code_stores(kind, prefix, cross, tmp_path):
    model = make(kind, add_cross_attention=cross)
    model.save_pretrained(tmp_path)
    stored, held = load_file(tmp_path / "model.safetensors"), model.state_dict()
    for name, shape in {**STORED, **(CROSS if cross else {})}.items():
        full = f"{prefix}h.1.{name}"
        assert type(model.get_submodule(full)) is nn.Linear
        assert tuple(stored[f"{full}.weight"].shape) == shape
        assert torch.equal(stored[f"{full}.weight"], held[f"{full}.weight"].T)
        assert torch.equal(stored[f"{full}.bias"], held[f"{full}.bias"])
    loaded = kind.from_pretrained(tmp_path)
    assert_same(loaded, model)
    assert all(parameter.is_contiguous() for parameter in loaded.parameters())


def test_the_table_changes_no_other_tensor():
    model = make(add_cross_attention=True)
    changed = {conversion.targets[0] for conversion in CONV1D.plan(model.state_dict()) if conversion.changes}
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert changed == linear - {"lm_head.weight"}


def test_old_files_have_no_prefix_and_carry_masks(tmp_path):
    model = make()
    model.transformer.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert not any(name.startswith("transformer.") for name in tensors)
    for index in range(2):
        tensors[f"h.{index}.attn.bias"] = torch.ones(1, 1, 16, 16).tril()
        tensors[f"h.{index}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for kind, expected in ((GPT2LMHeadModel, model), (GPT2Model, model.transformer)):
        loaded, info = kind.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info.values())
        assert_same(loaded, expected)


def test_a_file_of_old_masks_alone_is_not_a_model(tmp_path):
    make().save_pretrained(tmp_path)
    save_file({"h.0.attn.bias": torch.ones(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingTensorsError):
        GPT2LMHeadModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_state_dict_is_in_the_layout_of_the_model(sharded, tmp_path):
    model = make()
    state = {name: tensor.clone() + 1 for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=state, max_shard_size="4KB" if sharded else "5GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == sharded
    loaded = GPT2LMHeadModel.from_pretrained(tmp_path)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    again = GPT2LMHeadModel.from_pretrained(None, config=model.config, state_dict=state)
    assert_same(again, loaded)


class Parrot(GPT2Config):
    model_type = "parrot"


class ParrotLM(GPT2LMHeadModel):
    config_class = Parrot


def test_a_class_that_no_plugin_offers_has_the_layout_too(tmp_path):
    torch.manual_seed(0)
    model = ParrotLM(Parrot(**TINY))
    model.save_pretrained(tmp_path)
    assert tuple(load_file(tmp_path / "model.safetensors")["transformer.h.0.mlp.c_fc.weight"].shape) == (16, 24)
    assert_same(ParrotLM.from_pretrained(tmp_path), model)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    assert_same(GPT2LMHeadModel.from_pretrained(tmp_path), model)


class Doubled(Rewrite):
    """Holds a linear layer's weight twice as large, under another name."""

    key = "doubled"
    undoable = True

    def select(self, path, module):
        return path.endswith("mlp.c_fc")

    def build(self, module, path):
        built = nn.Module()
        built.twice = nn.Parameter(torch.empty_like(module.weight))
        built.bias = module.bias
        return built

    def convert(self, tensors, built):
        return {"twice": tensors["weight"] * 2}

    def revert(self, tensors, built):
        return {"weight": tensors["twice"] / 2}


def test_rewrites_and_the_layout_are_both_taken_back(tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "plain")
    rewritten = GPT2LMHeadModel.from_pretrained(tmp_path / "plain", rewrites=[Doubled()])
    twice = rewritten.transformer.h[0].mlp.c_fc.twice
    assert torch.equal(twice, model.transformer.h[0].mlp.c_fc.weight * 2)
    rewritten.save_pretrained(tmp_path / "reverted")
    files = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("plain", "reverted")]
    assert files[0] == files[1]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_file_read_up_front_and_cast(dtype, tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    loaded = GPT2LMHeadModel.from_pretrained(tmp_path, dtype=dtype, mmap=False)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].to(dtype)), name
    assert loaded(IDS).logits.dtype == dtype


@torch.no_grad()
def test_saved_over_itself(tmp_path):
    make().save_pretrained(tmp_path)
    model = GPT2LMHeadModel.from_pretrained(tmp_path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(2):
        model.save_pretrained(tmp_path)
        model = GPT2LMHeadModel.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
