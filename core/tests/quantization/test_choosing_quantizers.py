"""From what is asked for, or stored, to rewrites: names, presets, tables by pattern, and what is refused."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from transept.checkpoints import load_checkpoint
from transept.checkpoints.reader import MappingReader
from transept.discovery import registry
from transept.errors import PluginNotFoundError, QuantizationError, RewriteError, UnknownArgumentError
from transept.quantization import MixedConfig, PackedLinear, QuantizationConfig, Quantizer, chosen_quantizers, quantization_from
from transept.rewrite import applied_to, apply_live, saved_tensors, undo
from transept_hookspecs import QuantizerSpec, hookimpl


class RowsConfig(QuantizationConfig):
    loading_fields = frozenset({"compute"})

    quant_method: str = "core-rows"
    top: int = 127
    compute: str = "float32"


class RowsLinear(PackedLinear):
    packing = "rows"

    def __init__(self, module):
        super().__init__(module.in_features, module.out_features, module.bias)
        self.register_buffer("weight", torch.empty(module.out_features, module.in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(module.out_features, 1))

    def unpack(self, rows):
        return self.weight[rows].float() * self.scale[rows]


class Rows(Quantizer):
    key = "core-rows"

    def build(self, module, path):
        return RowsLinear(module)

    def convert(self, tensors, built):
        weight = tensors["weight"].float()
        if not torch.isfinite(weight).all():
            raise QuantizationError("a weight is not finite")
        scale = weight.abs().amax(1, keepdim=True) / self.config.top
        return {"weight": (weight / scale).round().to(torch.int8), "scale": scale}

    def revert(self, tensors, built):
        return {"weight": tensors["weight"].float() * tensors["scale"]}


class Plugin:
    @hookimpl
    def provide_quantizers(self):
        where = f"{__name__}:"
        return [
            QuantizerSpec(key="core-rows", config=f"{where}RowsConfig", rewrite=f"{where}make", presets={"few": {"top": 7}})
        ]


def make(config, model_config):
    return Rows(config)


@pytest.fixture(autouse=True)
def _offered(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(RowsConfig=RowsConfig, make=make))
    with registry.register(Plugin(), "core-rows"):
        yield


class Tower(nn.Module):
    base_model_prefix = "model"
    new_on_load = ("head.*",)

    def __init__(self, tied=False):
        super().__init__()
        self.model = nn.Module()
        self.model.embed = nn.Embedding(6, 4)
        self.model.up = nn.Linear(4, 8)
        self.model.down = nn.Linear(8, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.tied_weights = {"head.weight": "model.embed.weight"} if tied else {}
        if tied:
            self.head.weight = self.model.embed.weight

    def get_output_embeddings(self):
        return None

    def _init_weights(self, module):
        module.reset_parameters()


class Base(nn.Module):
    base_model_prefix = "model"

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.up = nn.Linear(4, 8)
        self.down = nn.Linear(8, 4)


def chosen(asked, stored=None):
    config = SimpleNamespace(quantization_config=stored)
    return chosen_quantizers(asked, config), config.quantization_config


def stored_of(model):
    held = saved_tensors(model)[0]
    return {name: one if isinstance(one, torch.Tensor) else one() for name, one in held.items()}


def load(kind, state, rewrites, **options):
    with torch.device("meta"):
        model = kind()
    return model, load_checkpoint(model, MappingReader(state), rewrites=rewrites, **options)


def packed(model):
    return [one.path for one in applied_to(model)]


def test_names_presets_dicts_and_objects():
    for asked, top in (("core-rows", 127), ("few", 7), ({"quant_method": "core-rows", "top": 9}, 9), (RowsConfig(top=3), 3)):
        (rewrite,), settings = chosen(asked)
        assert isinstance(rewrite, Rows)
        assert settings.top == rewrite.config.top == top


def test_unknown_keys_of_a_file_are_kept_and_of_a_user_refused():
    made = quantization_from({"quant_method": "core-rows", "later": [1]})
    assert made.to_dict()["later"] == [1]
    with pytest.raises(UnknownArgumentError, match="Did you mean `top`"):
        RowsConfig(tpo=1)
    with pytest.raises(QuantizationError, match="top"):
        RowsConfig(top="many")


def test_what_nobody_offers_is_refused():
    with pytest.raises(PluginNotFoundError):
        quantization_from("no-such-method")
    with pytest.raises(QuantizationError, match="quant_method"):
        quantization_from({"bits": 4})


def test_models_do_not_share_settings():
    asked = RowsConfig(modules_to_not_convert=["head"])
    _, one = chosen(asked)
    one.modules_to_not_convert.append("up")
    assert asked.modules_to_not_convert == ["head"]


def test_a_load_may_change_how_is_computed_and_nothing_else():
    stored = {"quant_method": "core-rows", "top": 7, "compute": "float32"}
    _, settings = chosen(RowsConfig(top=7, compute="bfloat16"), stored)
    assert settings.compute == "bfloat16"
    with pytest.raises(QuantizationError, match="top=7 and not 127"):
        chosen(RowsConfig(), stored)
    with pytest.raises(QuantizationError, match=r"`core-rows`.*`mixed`"):
        chosen({"*": "few"}, stored)


def test_a_table_decides_by_the_first_pattern_that_fits():
    rewrites, settings = chosen({"*.up": RowsConfig(top=7), "head": None, "default": "core-rows"})
    model = Tower()
    for rewrite in rewrites:
        apply_live(model, rewrite)
    assert sorted(packed(model)) == ["model.down", "model.up"]
    assert int(model.model.up.weight.abs().max()) == 7
    assert int(model.model.down.weight.abs().max()) == 127
    again = quantization_from(json.loads(json.dumps(settings.to_dict())))
    assert isinstance(again, MixedConfig)
    assert isinstance(again.modules["*.up"], RowsConfig)
    assert again.to_dict() == settings.to_dict()


def test_a_table_without_a_default_leaves_the_rest():
    model = Tower()
    for rewrite in chosen({"*.up": "core-rows"})[0]:
        apply_live(model, rewrite)
    assert packed(model) == ["model.up"]
    with pytest.raises(QuantizationError, match="names no quantizer"):
        chosen({"*.up": None})


def test_a_pattern_that_fits_nothing_is_an_error():
    with pytest.raises(RewriteError, match="selects no module"):
        apply_live(Tower(), chosen({"*.no_such_layer": "core-rows"})[0][0])


def test_packed_tensors_are_claimed_with_and_without_the_prefix():
    source = Tower()
    apply_live(source, chosen(RowsConfig(modules_to_not_convert=["head"]))[0][0])
    state = stored_of(source)
    base, _ = load(Base, state, chosen("core-rows")[0])
    assert packed(base) == ["up", "down"]
    assert torch.equal(base.up.weight, source.model.up.weight)
    inner = {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}
    model, report = load(Tower, inner, chosen("core-rows")[0])
    assert packed(model) == ["model.up", "model.down"], "a head that starts anew is not packed"
    assert report.newly_initialized == ["head.weight"]
    assert torch.equal(model.model.down.scale, source.model.down.scale)


def test_what_is_tied_stays_whatever_is_named():
    model = Tower(tied=True)
    apply_live(model, chosen(RowsConfig(modules_to_not_convert=["up"]))[0][0])
    assert packed(model) == ["model.down"]
    assert model.head.weight is model.model.embed.weight


def test_errors_of_ours_come_out_as_they_are():
    model = Tower()
    with torch.no_grad():
        model.model.down.weight[0, 0] = torch.inf
    with pytest.raises(QuantizationError, match="not finite"):
        apply_live(model, chosen("core-rows")[0][0])
    assert not packed(model)
    undone = Tower()
    apply_live(undone, chosen("core-rows")[0][0])
    undo(undone, "core-rows")
    assert type(undone.model.up) is nn.Linear
