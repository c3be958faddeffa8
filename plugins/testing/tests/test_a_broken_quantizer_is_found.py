"""Quantizers that break a promise fail the checks that are for it."""

import sys
import types

import pytest
import torch
from transept_testing import QuantizerConformance
from transept_testing.quantizers.stand_in import RowsLinear, StandIn, StandInConfig

from transept.discovery import registry
from transept_hookspecs import QuantizerSpec, hookimpl

pytest.importorskip("transept_llama")


class Config(StandInConfig):
    quant_method: str = "broken-rows"


class Good(StandIn):
    key = "broken-rows"


class KeepsFloats(Good):
    """The file holds floats beside."""

    def stored(self, tensors, built):
        return {**tensors, "copy": tensors["weight"].float()}


class Drifts(Good):
    """What is read is not what was written."""

    def restore(self, tensors, built):
        return {**tensors, "scale": tensors["scale"] * 1.0001}


class TakesAll(Good):
    """Deaf to the settings."""

    def takes(self, path):
        return path not in self._kept


class Coarse(Good):
    def convert(self, tensors, built):
        made = super().convert(tensors, built)
        return {**made, "weight": made["weight"].sign() * 100}


class Deaf(RowsLinear):
    """No gradient reaches the input."""

    def forward(self, hidden_states):
        return super().forward(hidden_states.detach())


class NoGradient(Good):
    def build(self, module, path):
        return Deaf(module.in_features, module.out_features, module.bias)


class Shared(RowsLinear):
    """A copy shares the memory."""

    def __deepcopy__(self, memo):
        other = Shared(self.in_features, self.out_features, None)
        other.bias = self.bias
        other._buffers.update(self._buffers)
        return other


class Shares(Good):
    def build(self, module, path):
        return Shared(module.in_features, module.out_features, module.bias)


class RevertsElsewhere(Good):
    def revert(self, tensors, built):
        return {"weight": super().revert(tensors, built)["weight"] * 1.1}


@pytest.fixture(autouse=True)
def _one_thread():
    """Sums are then made in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def conformance(monkeypatch):
    """The checks for a quantizer, which is installed while the test runs."""
    offered = []

    def make(kind):
        module = types.ModuleType("a_broken_quantizer")
        module.Config, module.make = Config, lambda config, model_config: kind(config)
        monkeypatch.setitem(sys.modules, "a_broken_quantizer", module)

        class Plugin:
            @hookimpl
            def provide_quantizers(self):
                where = "a_broken_quantizer"
                return [QuantizerSpec(key="broken-rows", config=f"{where}:Config", rewrite=f"{where}:make", training=True)]

        offered.append(registry.register(Plugin(), "broken"))

        class Broken(QuantizerConformance):
            key = "broken-rows"

        return Broken()

    yield make
    for each in offered:
        each.close()


@pytest.mark.parametrize(
    ("kind", "test", "words"),
    [
        (Good, "test_a_load_is_bit_equal", None),
        (Good, "test_linear_layers_are_packed", None),
        (Good, "test_files_are_as_small_as_they_claim", None),
        (Good, "test_adapters_learn_on_packed_layers", None),
        (Good, "test_copies_and_pickles_are_models_of_their_own", None),
        (Good, "test_dequantizing_gives_ordinary_layers", None),
        (KeepsFloats, "test_files_are_as_small_as_they_claim", "bits in files"),
        (Drifts, "test_a_load_is_bit_equal", "is not bit-equal"),
        (Drifts, "test_saved_again_is_the_same_file", "file changes"),
        (Coarse, "test_linear_layers_are_packed", "away from the float model's"),
        (NoGradient, "test_adapters_learn_on_packed_layers", "gradient of the adapter"),
        (Shares, "test_copies_and_pickles_are_models_of_their_own", "shares memory"),
        (RevertsElsewhere, "test_dequantizing_gives_ordinary_layers", "away"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_promise_is_found(kind, test, words, conformance, tmp_path):
    suite = conformance(kind)
    case = next(case for case in suite.cases()["case"]() if case.architecture == "llama")
    source, saved = tmp_path / "float", tmp_path / "saved"
    suite.float_model("llama").save_pretrained(source)

    def float_folder(name):
        return source

    def quantized(case):
        model = suite.quantize(suite.model_class("llama"), source, suite.quantization(case.setting))
        if not (saved / "config.json").exists():
            model.save_pretrained(saved)
        return model, saved

    names = getattr(suite, test).__code__.co_varnames[: getattr(suite, test).__code__.co_argcount]
    given = {"case": case, "quantized": quantized, "float_folder": float_folder, "tmp_path": tmp_path / "mine"}
    arguments = {name: given[name] for name in names if name != "self"}
    if words is None:
        getattr(suite, test)(**arguments)
        return
    with pytest.raises(AssertionError, match=words):
        getattr(suite, test)(**arguments)


def test_settings_that_are_not_heard_are_found(conformance, tmp_path):
    suite = conformance(TakesAll)
    source = tmp_path / "float"
    suite.float_model("llama").save_pretrained(source)
    model = suite.quantize(suite.model_class("llama"), source, suite.quantization("default"))
    with pytest.raises(AssertionError, match="names it"):
        suite.test_what_is_skipped_stays("llama", lambda name: source, lambda case: (model, source), tmp_path / "mine")
