"""Quantizing while loading: what is packed, what stays, what is asked for, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from transept.discovery import load_object
from transept.errors import QuantizationError, UnknownArgumentError
from transept.quantization import quantization_from
from transept.rewrite import applied_to, local_tensors

from ..refusing import refused
from .suite import Case, QuantizerSuite, same_bits, tensors

__all__ = ["LoadingChecks"]

Folder = Callable[[str], Path]
Quantized = Callable[[Case], tuple[Any, Path]]


class LoadingChecks(QuantizerSuite, standard=True):
    """From a float checkpoint to a quantized model."""

    def test_linear_layers_are_packed(self, case: Case, quantized: Quantized, float_folder: Folder) -> None:
        model, _ = quantized(case)
        packed = self.packed(model)
        assert packed, "no module is packed"
        for path in packed:
            module = model.get_submodule(path)
            assert type(module) is not nn.Linear, f"`{path}` is a plain `torch.nn.Linear` still"
            held = {**local_tensors(module)}
            assert held, f"`{path}` holds no tensor"
            left = [name for name, tensor in held.items() if tensor.is_meta]
            assert not left, f"{left} of `{path}` were not filled"
        assert model.is_quantized
        assert model.quantization_method == self.key
        plain = self.model_class(case.architecture).from_pretrained(float_folder(case.architecture))
        distance = self.distance(self.logits(case.architecture, model), self.logits(case.architecture, plain))
        assert distance <= self.error, f"the outputs are {distance:.3g} away from the float model's; `error` is {self.error}"

    def test_files_are_as_small_as_they_claim(self, case: Case, quantized: Quantized) -> None:
        model, _ = quantized(case)
        held = tensors(model)
        weights = taken = 0
        for path, one in self.packed(model).items():
            weights += sum(local_tensors(one.original)[name].numel() for name in one.sources)
            taken += sum(
                tensor.nbytes for name, tensor in held.items() if name.startswith(f"{path}.") and name != f"{path}.bias"
            )
        bits = 8 * taken / weights
        assert bits <= self.bits, f"a packed weight takes {bits:.2f} bits in files; `bits` is {self.bits}"

    def test_what_is_skipped_stays(self, architecture: str, float_folder: Folder, quantized: Quantized, tmp_path: Path) -> None:
        setting, kind = next(iter(self.settings)), self.model_class(architecture)
        model, source = quantized(Case(architecture, setting))[0], float_folder(architecture)
        skipped = list(self.packed(model))[-1]
        quantization = self.quantization(setting, **{self.skip_field: [skipped]})
        found = self.quantize(kind, source, quantization)
        assert type(found.get_submodule(skipped)) is nn.Linear, f"`{skipped}` is packed, though `{self.skip_field}` names it"
        expected = kind.from_pretrained(source).get_submodule(skipped).weight
        assert same_bits(found.get_submodule(skipped).weight, expected), f"the weight of `{skipped}` is not the checkpoint's"
        found.save_pretrained(tmp_path)
        again = kind.from_pretrained(tmp_path)
        self.assert_same(again, found, architecture, f"without `{skipped}`, loaded again")

    def test_ties_stay(self, architecture: str, quantized: Quantized) -> None:
        model, folder = quantized(Case(architecture, next(iter(self.settings))))
        for one in (model, self.model_class(architecture).from_pretrained(folder)):
            for target, source in one.tied_weights.items():
                assert one.get_parameter(target) is one.get_parameter(source), f"`{target}` and `{source}` were parted"
            head, embedding = one.get_output_embeddings(), one.get_input_embeddings()
            tied = self.float_model(architecture).tied_weights and head is not None
            if tied and not {applied.path for applied in applied_to(one)}.intersection(_paths(one, head, embedding)):
                assert head.weight is embedding.weight, "neither head nor embedding is packed, and they are tied no more"

    def test_a_preset_is_a_short_name(self, preset: str, float_folder: Folder) -> None:
        if not self.without_data:
            pytest.skip("it learns from data, so a name alone quantizes nothing")
        name = next(iter(self.cases()["architecture"]()))
        try:
            model = self.quantize(self.model_class(name), float_folder(name), preset)
        except QuantizationError as error:  # hardware that it needs may not be here
            assert "`" in str(error), f"the message names nothing: {error}"
            pytest.skip(f"refused: {error}")
        config = load_object(self.record().config, owner=self.key)(**self.record().presets[preset])
        assert self.packed(model)
        found, expected = model.config.quantization_config.to_dict(), config.to_dict()
        if expected[self.skip_field] is None:  # a quantizer may write down what it left
            expected[self.skip_field] = found[self.skip_field]
        assert found == expected

    def test_settings_are_data(self, setting: str) -> None:
        config = self.quantization(setting)
        plain = json.loads(json.dumps(config.to_dict()))
        assert plain["quant_method"] == self.key
        again = quantization_from(plain)
        assert type(again) is type(config)
        assert again.to_dict() == plain, "settings do not survive JSON"
        with refused(UnknownArgumentError, "no_such_setting", "refuse keywords that are no fields"):
            self.quantization(setting, no_such_setting=1)

    def test_what_is_quantized_says_so(self, setting: str, quantized: Quantized) -> None:
        """The settings are in config.json; asking for the same ones again changes nothing."""
        name = next(iter(self.cases()["architecture"]()))
        model, folder = quantized(Case(name, setting))
        stored = json.loads((folder / "config.json").read_text())["quantization_config"]
        assert stored["quant_method"] == self.key
        asked = self.model_class(name).from_pretrained(folder, quantization_config=self.quantization(setting))
        self.assert_same(asked, model, name, "asked for with the settings that the checkpoint has")

    def test_another_method_is_refused(self, quantized: Quantized, stand_in: str, float_folder: Folder) -> None:
        name = next(iter(self.cases()["architecture"]()))
        model, folder = quantized(Case(name, next(iter(self.settings))))
        with refused(QuantizationError, f"{self.key}.*{stand_in}", "name both methods"):
            self.model_class(name).from_pretrained(folder, quantization_config=stand_in)
        with refused(QuantizationError, "quantized already", "a model is quantized once"):
            model.quantize(stand_in)

    def test_settings_that_do_not_fit(self, indivisible_setting: str, float_folder: Folder, tmp_path: Path) -> None:
        name = next(iter(self.cases()["architecture"]()))
        self._served_or_refused(name, float_folder(name), self.quantization(indivisible_setting), tmp_path)

    def test_widths_that_do_not_fit(self, setting: str, tmp_path: Path) -> None:
        if self.odd_width is None:
            pytest.skip("`odd_width` is None")
        name = next(iter(self.cases()["architecture"]()))
        self.float_model(name, self.odd_width).save_pretrained(tmp_path / "float")
        self._served_or_refused(name, tmp_path / "float", self.quantization(setting), tmp_path / "quantized")

    def _served_or_refused(self, name: str, source: Path, quantization: Any, folder: Path) -> None:
        kind = self.model_class(name)
        try:
            model = self.quantize(kind, source, quantization)
        except QuantizationError as error:
            assert "`" in str(error), f"the message names nothing: {error}"
            return
        distance = self.distance(self.logits(name, model), self.logits(name, kind.from_pretrained(source)))
        assert distance <= self.error, f"the outputs are {distance:.3g} away from the float model's; `error` is {self.error}"
        model.save_pretrained(folder)
        self.assert_same(kind.from_pretrained(folder), model, name, "loaded again")

    def test_several_quantizers_share_a_model(
        self, architecture: str, float_folder: Folder, quantized: Quantized, stand_in: str, tmp_path: Path
    ) -> None:
        if not self.without_data:
            pytest.skip("it learns from data, so it cannot quantize a part of a model while loading")
        setting, kind = next(iter(self.settings)), self.model_class(architecture)
        paths = list(self.packed(quantized(Case(architecture, setting))[0]))
        mine, left = paths[0], paths[-1]
        table = {mine: self.quantization(setting), left: None, "default": stand_in}
        model = self.quantize(kind, float_folder(architecture), table)
        assert list(self.packed(model)) == [mine]
        assert type(model.get_submodule(left)) is nn.Linear
        others = self.packed(model, stand_in)
        assert others, "the default packs nothing"
        assert not {mine, left}.intersection(others)
        model.save_pretrained(tmp_path)
        self.assert_same(kind.from_pretrained(tmp_path), model, architecture, "a mixed model, loaded again")

    def test_any_dtype_is_served_or_refused(self, wide_dtype: torch.dtype, float_folder: Folder, quantized: Quantized) -> None:
        name = next(iter(self.cases()["architecture"]()))
        setting, kind = next(iter(self.settings)), self.model_class(name)
        if wide_dtype not in self.dtypes:
            with refused(QuantizationError, str(wide_dtype).removeprefix("torch."), "name the dtype that is not served"):
                self.logits(name, self.quantize(kind, float_folder(name), self.quantization(setting), dtype=wide_dtype))
            return
        model = self.quantize(kind, float_folder(name), self.quantization(setting), dtype=wide_dtype)
        assert model.get_input_embeddings().weight.dtype == wide_dtype or self.packed(model), "the load's dtype is lost"
        found = self.logits(name, model)
        assert torch.isfinite(found).all(), f"in {wide_dtype} the outputs are not finite"
        expected = self.logits(name, kind.from_pretrained(float_folder(name)))
        assert self.distance(found, expected) <= self.error + 0.02


def _paths(model: nn.Module, *wanted: Any) -> list[str]:
    return [path for path, module in model.named_modules(remove_duplicate=False) if any(module is one for one in wanted)]
