"""What every quantizer check is made from: small models of several architectures, their float checkpoints, and quantized ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from transept.discovery import load_object, registry
from transept.rewrite import applied_to, saved_tensors

from ..filling import fill, token_ids
from ..standard import Conformance
from .stand_in import KEY, StandInPlugin

__all__ = ["ARCHITECTURES", "Architecture", "Case", "QuantizerSuite", "same_bits", "tensors"]


@dataclass(frozen=True)
class Architecture:
    """A model that is quantized: a `model_type`, one of its tasks, and a configuration for a given width."""

    model_type: str
    task: str
    make: Callable[[int], dict[str, Any]] = field(compare=False)


def _llama(width: int) -> dict[str, Any]:
    return {
        "vocab_size": 99,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
    }


def _gpt2(width: int) -> dict[str, Any]:
    return {
        "vocab_size": 99,
        "n_positions": 64,
        "n_embd": width,
        "n_layer": 2,
        "n_head": 4,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _bert(width: int) -> dict[str, Any]:
    return {
        "vocab_size": 99,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "num_labels": 3,
        "pad_token_id": 0,
    }


def _t5(width: int) -> dict[str, Any]:
    return {
        "vocab_size": 99,
        "d_model": width,
        "d_kv": width // 4,
        "d_ff": 2 * width,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        "feed_forward_proj": "gated-gelu",
    }


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", "causal_lm", _llama),
    "llama tied": Architecture("llama", "causal_lm", lambda width: {**_llama(width), "tie_word_embeddings": True}),
    "gpt2": Architecture("gpt2", "causal_lm", _gpt2),
    "bert": Architecture("bert", "sequence_classification", _bert),
    "t5": Architecture("t5", "seq2seq_lm", _t5),
}


@dataclass(frozen=True)
class Case:
    """One architecture with one choice of settings."""

    architecture: str
    setting: str

    def __str__(self) -> str:
        return f"{self.architecture}-{self.setting}"


class QuantizerSuite(Conformance, standard=True):
    """Cases, models and checkpoints.

    Tests take a `case` (every architecture with the first settings, the first architecture with the others) or a `setting` (with the
    first architecture). What `quantized(case)` gives is shared by tests, so not to be changed; `copied(case)` is one's own.
    """

    key: ClassVar[str]
    """The quantizer's key: `quant_method`."""
    settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}
    """Keywords of the settings' class, by a name for people; the first ones are tried with every architecture."""
    architectures: ClassVar[Mapping[str, Architecture]] = ARCHITECTURES
    """Models to quantize; those whose family is not installed are left out."""
    width: ClassVar[int] = 64
    """Hidden size of the models: a multiple of what the layout packs together."""
    odd_width: ClassVar[int | None] = 40
    """A hidden size that no group divides: such a model is quantized all the same, or refused. None: whatever comes is tried."""
    indivisible: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings that do not fit models of `width`, by name: served all the same, or refused by a `QuantizationError`."""
    skip_field: ClassVar[str] = "modules_to_not_convert"
    """The field of the settings that names modules to leave."""
    error: ClassVar[float] = 0.3
    """How far the quantized model's outputs may be from the float model's: norm of the difference over the norm."""
    dequantized_error: ClassVar[float] = 1e-4
    """The same between the quantized model and the dequantized one; larger for those that round activations as well."""
    bits: ClassVar[float] = 12.0
    """At most so many bits a weight, with scales, may a packed layer of a tiny model take in files."""
    dtypes: ClassVar[Sequence[torch.dtype]] = (torch.float32, torch.bfloat16, torch.float16)
    """Dtypes that a model can be loaded in; others are refused by a `QuantizationError`."""
    supports_state_dict: ClassVar[bool] = True
    """`load_state_dict(state_dict, strict=True)` into a model that is quantized alike."""
    supports_pickle: ClassVar[bool] = True

    _folders: ClassVar[dict[str, Path]]
    _models: ClassVar[dict[Case, tuple[Any, Path]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._folders, cls._models = {}, {}

    # -- cases -------------------------------------------------------------------------------------------------------------

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        first = next(iter(self.settings))

        def installed() -> list[str]:
            return [name for name, one in self.architectures.items() if registry.find("models", one.model_type) is not None]

        def everything() -> list[Case]:
            names = installed()
            return [*(Case(name, first) for name in names), *(Case(names[0], other) for other in list(self.settings)[1:])]

        return {
            "case": everything,
            "architecture": installed,
            "setting": lambda: list(self.settings),
            "preset": lambda: list(self.record().presets),
            "indivisible_setting": lambda: list(self.indivisible),
            "wide_dtype": lambda: [torch.float32, torch.bfloat16, torch.float16],
        }

    @classmethod
    def record(cls) -> Any:
        """The plugin's `QuantizerSpec`."""
        return registry.get("quantizers", cls.key)

    @classmethod
    def quantization(cls, setting: str, **changes: Any) -> Any:
        """The settings of that name, as `quantization_config` takes them."""
        values = {**cls.settings, **cls.indivisible}[setting]
        made: Any = load_object(cls.record().config, owner=cls.key)(**{**copy.deepcopy(dict(values)), **changes})
        return made

    @property
    def without_data(self) -> bool:
        """It can quantize while loading; one that learns from data overrides `quantize`."""
        return self.record().calibrate is None

    # -- models ------------------------------------------------------------------------------------------------------------

    def model_class(self, name: str) -> Any:
        one = self.architectures[name]
        return load_object(registry.get("models", one.model_type).tasks[one.task], owner=one.model_type)

    def float_model(self, name: str, width: int | None = None) -> Any:
        """A new model in evaluation mode, whose weights follow from their names alone."""
        one = self.architectures[name]
        config_class = load_object(registry.get("models", one.model_type).config, owner=one.model_type)
        model = self.model_class(name)(config_class(**one.make(width or self.width)))
        fill(model)
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                if path.endswith("Attention.q.weight"):  # T5 does not scale its scores: its queries are small
                    parameter.mul_(model.config.d_kv**-0.5)
        return model.eval()

    def quantize(self, kind: Any, folder: Path, quantization: Any, **options: Any) -> Any:
        """The float checkpoint in a folder, quantized."""
        return kind.from_pretrained(folder, quantization_config=quantization, **options)

    @pytest.fixture
    def float_folder(self, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
        """`float_folder(architecture)`: a checkpoint of it in float32."""
        made = self._folders

        def folder(name: str) -> Path:
            if name not in made:
                made[name] = tmp_path_factory.mktemp("float")
                self.float_model(name).save_pretrained(made[name])
            return made[name]

        return folder

    @pytest.fixture
    def quantized(
        self, float_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
    ) -> Callable[[Case], tuple[Any, Path]]:
        """`quantized(case) -> (model, folder)`: quantized while loading, and saved to the folder. Shared: not to be changed."""
        made = self._models

        def quantized(case: Case) -> tuple[Any, Path]:
            if case not in made:
                source = float_folder(case.architecture)
                model = self.quantize(self.model_class(case.architecture), source, self.quantization(case.setting))
                folder = tmp_path_factory.mktemp("quantized")
                model.save_pretrained(folder)
                made[case] = model, folder
            return made[case]

        return quantized

    @pytest.fixture
    def stand_in(self) -> Iterator[str]:
        """The key of another quantizer, which is installed while the test runs."""
        offered = registry.register(StandInPlugin(), KEY)
        yield KEY
        offered.close()

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        """Sums are then made in one order, here and in another process."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    def inputs(self, name: str, model: Any) -> dict[str, Tensor]:
        """Arguments of `forward`: ids (2, 9), and for an encoder–decoder those of the decoder (2, 7)."""
        found = {"input_ids": token_ids((2, 9), list(range(3, 99)))}
        if model.config.is_encoder_decoder:
            found["decoder_input_ids"] = token_ids((2, 7), list(range(3, 99)), 1)
        return found

    def logits(self, name: str, model: Any, **changes: Any) -> Tensor:
        with torch.no_grad():
            found: Tensor = model(**{**self.inputs(name, model), **changes}).logits
        return found

    # -- what is looked at -------------------------------------------------------------------------------------------------

    def packed(self, model: nn.Module, key: str | None = None) -> dict[str, Any]:
        """Path and record of each module that this quantizer (or that of another key) packed."""
        return {one.path: one for one in applied_to(model) if one.rewrite.packs and one.key == (key or self.key)}

    def assert_same(self, found: Any, expected: Any, name: str, what: str) -> None:
        """Two quantized models are one: bit for bit in what would be saved, and in what they give."""
        here, there = tensors(found), tensors(expected)
        assert sorted(here) == sorted(there), f"{what}: tensors differ by name: {sorted(set(here) ^ set(there))}"
        for path, tensor in there.items():
            assert here[path].dtype == tensor.dtype, f"{what}: `{path}` is {here[path].dtype} in place of {tensor.dtype}"
            assert same_bits(here[path], tensor), f"{what}: `{path}` is not bit-equal"
        assert same_bits(self.logits(name, found), self.logits(name, expected)), f"{what}: the logits are not bit-equal"

    @staticmethod
    def distance(found: Tensor, expected: Tensor) -> float:
        return float((found.double() - expected.double()).norm() / expected.double().norm())


def tensors(model: Any) -> dict[str, Tensor]:
    """What would be saved, by name."""
    held = saved_tensors(model)[0]
    return {name: one if isinstance(one, Tensor) else one() for name, one in held.items()}


def same_bits(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(as_bytes(one), as_bytes(other))


def as_bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
