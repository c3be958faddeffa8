"""A quantizer with a `marker` packs what the checkpoint holds packed, and nothing else."""

import pytest
import torch
from torch import nn

from transept.checkpoints import load_checkpoint
from transept.checkpoints.reader import MappingReader
from transept.quantization import QuantizationConfig, Quantizer


class Halves(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.halved = nn.Parameter(torch.empty(module.weight.shape), requires_grad=False)
        self.bias = module.bias

    def forward(self, x):
        return nn.functional.linear(x, 2 * self.halved, self.bias)


class Halve(Quantizer):
    key, marker = "halve", "halved"

    def build(self, module, path):
        return Halves(module)

    def convert(self, tensors, built):
        return {"halved": tensors["weight"] / 2}

    def revert(self, tensors, built):
        return {"weight": 2 * tensors["halved"]}


class Towers(nn.Module):
    """Two parts with the same names inside."""

    base_model_prefix = "model"

    def __init__(self):
        super().__init__()
        self.model = nn.ModuleDict({one: nn.ModuleDict({"proj": nn.Linear(3, 3)}) for one in ("text", "image")})
        self.head = nn.Linear(3, 2)

    def get_output_embeddings(self):
        return self.head


def filled():
    with torch.device("meta"):
        return Towers()


def checkpoint(*packed, without=""):
    torch.manual_seed(0)
    tensors = dict(Towers().state_dict())
    for path in packed:
        tensors[f"{path}.halved"] = tensors.pop(f"{path}.weight") / 2
    return {name.removeprefix(without): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("without", ["", "model."])
@pytest.mark.parametrize("packed", [("model.text.proj",), ("model.image.proj", "head")])
def test_packed_modules_are_the_checkpoints(packed, without):
    model = filled()
    load_checkpoint(
        model, MappingReader(checkpoint(*packed, without=without)), rewrites=[Halve(QuantizationConfig(quant_method="halve"))]
    )
    assert {path for path, module in model.named_modules() if isinstance(module, Halves)} == set(packed)
    plain = Towers()
    plain.load_state_dict(checkpoint())
    x = torch.randn(2, 3)
    assert torch.equal(model.model["text"]["proj"](x), plain.model["text"]["proj"](x))
    assert torch.equal(model.head(x), plain.head(x))


def test_a_checkpoint_of_floats_leaves_the_choice_to_the_settings():
    model = filled()
    load_checkpoint(model, MappingReader(checkpoint()), rewrites=[Halve(QuantizationConfig(quant_method="halve"))])
    assert {path for path, module in model.named_modules() if isinstance(module, Halves)} == {
        "model.text.proj",
        "model.image.proj",
    }


def test_of_several_quantizers_each_takes_its_own():
    first, second = (Halve(QuantizationConfig(quant_method="halve")) for _ in range(2))
    first.only, second.only = (lambda path: path == "head"), (lambda path: None)
    first.optional = second.optional = True
    model = filled()
    first.look_at(dict.fromkeys(f"{path}.halved" for path in ("model.text.proj", "head")))
    second.look_at(dict.fromkeys(f"{path}.halved" for path in ("model.text.proj", "head")))
    taken = [{path for path, module in model.named_modules() if one.select(path, module)} for one in (first, second)]
    assert taken == [{"head"}, {"model.text.proj", "head"}]
