"""Quantized models in use: quantized alive and back, copied, trained with adapters, asked for text."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.rewrite import applied_to

from ..refusing import refused
from .suite import Case, QuantizerSuite, same_bits, tensors

__all__ = ["UseChecks"]

Folder = Callable[[str], Path]
Quantized = Callable[[Case], tuple[Any, Path]]


class UseChecks(QuantizerSuite, standard=True):
    """What one does with a model."""

    def test_quantizing_alive_is_quantizing_while_loading(
        self, case: Case, quantized: Quantized, float_folder: Folder, tmp_path: Path
    ) -> None:
        if not self.without_data:
            pytest.skip("it learns from data")
        loaded, _ = quantized(case)
        live = self.model_class(case.architecture).from_pretrained(float_folder(case.architecture))
        live.quantize(self.quantization(case.setting))
        self.assert_same(live, loaded, case.architecture, "quantized alive")
        assert live.config.quantization_config.to_dict() == loaded.config.quantization_config.to_dict()
        live.save_pretrained(tmp_path)
        again = self.model_class(case.architecture).from_pretrained(tmp_path)
        self.assert_same(again, loaded, case.architecture, "quantized alive, saved and loaded")

    def test_dequantizing_gives_ordinary_layers(self, case: Case, quantized: Quantized, tmp_path: Path) -> None:
        _, folder = quantized(case)
        model = self.model_class(case.architecture).from_pretrained(folder)
        packed, before = self.packed(model), self.logits(case.architecture, model)
        model.dequantize()
        for path, one in packed.items():
            assert type(model.get_submodule(path)) is type(one.original), f"`{path}` is not what it was"
        assert not model.is_quantized
        distance = self.distance(self.logits(case.architecture, model), before)
        assert distance <= self.dequantized_error, f"dequantized, the outputs are {distance:.3g} away"
        with refused(QuantizationError, "not quantized", "say that there is nothing to dequantize"):
            model.dequantize()
        model.save_pretrained(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text()).get("quantization_config") is None
        again = self.model_class(case.architecture).from_pretrained(tmp_path)
        assert not any(one.rewrite.packs for one in applied_to(again))
        self.assert_same(again, model, case.architecture, "dequantized, saved and loaded")

    def test_copies_and_pickles_are_models_of_their_own(self, case: Case, quantized: Quantized) -> None:
        model, _ = quantized(case)
        places = {tensor.data_ptr() for tensor in _held(model) if tensor.numel()}
        copies = [copy.deepcopy(model)]
        if self.supports_pickle:
            copies.append(pickle.loads(pickle.dumps(model)))
        for other in copies:
            self.assert_same(other, model, case.architecture, "a copy")
            assert self.packed(other).keys() == self.packed(model).keys()
            shared = places.intersection(tensor.data_ptr() for tensor in _held(other) if tensor.numel())
            assert not shared, "a copy shares memory with the model"
            assert other.config.quantization_config is not model.config.quantization_config

    def test_a_state_dict_loads_strictly(self, case: Case, quantized: Quantized, float_folder: Folder) -> None:
        if not self.supports_state_dict or not self.without_data:
            pytest.skip("`supports_state_dict` is False, or it learns from data")
        model, _ = quantized(case)
        other = self.model_class(case.architecture).from_pretrained(float_folder(case.architecture))
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(1.25).add_(0.01)
        other.quantize(self.quantization(case.setting))
        assert not same_bits(self.logits(case.architecture, other), self.logits(case.architecture, model))
        other.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
        self.assert_same(other, model, case.architecture, "with the state of another")

    def test_adapters_learn_on_packed_layers(self, case: Case, quantized: Quantized, float_folder: Folder) -> None:
        """One step of low-rank adapters: gradients are those on the dequantized weights, and nothing else moves."""
        if not self.record().training:
            pytest.skip("the record says `training=False`")
        _, folder = quantized(case)
        model = self.model_class(case.architecture).from_pretrained(folder)
        before, paths = {name: tensor.clone() for name, tensor in tensors(model).items()}, list(self.packed(model))
        found, adapters, loss = self._step(model, paths, case.architecture)
        if self.dequantized_error < 1e-3:  # else rounding outweighs a small step
            assert self._loss(model, case.architecture) < loss, "after a small step down the gradient the loss is no smaller"
        for name, tensor in tensors(model).items():
            assert same_bits(tensor, before[name]), f"`{name}` moved, and only the adapters were to learn"
        assert any(float(gradient.abs().max()) > 0 for gradient in found), "no gradient reaches the adapters"
        plain = self.model_class(case.architecture).from_pretrained(folder).dequantize()
        expected, _, _ = self._step(plain, paths, case.architecture)
        allowed = max(50 * self.dequantized_error, 1e-3)
        for path, one, other in zip(adapters, found, expected, strict=True):
            assert self.distance(one, other) <= allowed, f"the gradient of the adapter at `{path}` is not that on the floats"

    def _step(self, model: Any, paths: list[str], name: str) -> tuple[list[Tensor], list[str], float]:
        """Hang adapters on the layers, take one step; their gradients, where they hang, and the loss before."""
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        adapters: list[nn.Parameter] = []
        places: list[str] = []
        generator = torch.Generator().manual_seed(0)
        for path in paths:
            module = model.get_submodule(path)
            down = nn.Parameter(torch.randn(2, module.in_features, generator=generator) / module.in_features**0.5)
            up = nn.Parameter(torch.randn(module.out_features, 2, generator=generator) * 0.02)
            module.register_forward_hook(_Adapter(down, up))
            adapters += [down, up]
            places += [path, path]
        loss = self._loss(model, name)
        loss.backward()
        unreached = {path for path, one in zip(places, adapters, strict=True) if one.grad is None}
        assert not unreached, f"no gradient reaches the adapters at {sorted(unreached)}"
        gradients = [one.grad.clone() for one in adapters if one.grad is not None]
        scale = 1e-3 / max(float(gradient.norm()) for gradient in gradients)
        with torch.no_grad():
            for one, gradient in zip(adapters, gradients, strict=True):
                one.sub_(scale * gradient)
        return gradients, places, float(loss.detach())

    def _loss(self, model: Any, name: str) -> Tensor:
        logits = model(**self.inputs(name, model)).logits.float()
        direction = torch.cos(torch.arange(logits.numel()).float()).view(logits.shape)
        return (logits * direction).sum() / logits.numel()

    @torch.no_grad()
    def test_text_is_generated(self, setting: str, quantized: Quantized) -> None:
        name = next(iter(self.cases()["architecture"]()))
        model, folder = quantized(Case(name, setting))
        again = self.model_class(name).from_pretrained(folder)
        prompt = self.inputs(name, model)["input_ids"]
        texts = [one.generate(prompt, max_new_tokens=6, pad_token_id=0, eos_token_id=None) for one in (model, again)]
        assert texts[0].shape == (2, prompt.shape[1] + 6)
        assert torch.equal(*texts), "a model that was loaded says something else"


class _Adapter:
    """A forward hook that adds `up @ down @ input`."""

    def __init__(self, down: nn.Parameter, up: nn.Parameter) -> None:
        self.down, self.up = down, up

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        hidden = arguments[0]
        return output + (hidden.to(self.down.dtype) @ self.down.T @ self.up.T).to(output.dtype)


def _held(model: nn.Module) -> list[Tensor]:
    """Every tensor that the model holds itself, packed ones by their parts."""
    found: list[Tensor] = []
    for tensor in (*model.parameters(), *model.buffers()):
        found += _parts(tensor)
    return found


def _parts(tensor: Tensor) -> list[Tensor]:
    """The plain tensors inside a subclass that says which they are; else itself."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        return [tensor]
    return [part for name in flatten()[0] for part in _parts(getattr(tensor, name))]
