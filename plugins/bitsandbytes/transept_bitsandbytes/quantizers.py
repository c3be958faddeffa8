"""The two quantizers: which layers they take, and how bitsandbytes' modules are made, filled, saved and read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.quantization import Quantizer

from .configuration import BitsAndBytesConfig
from .library import library
from .packing import pack_4bit, pack_8bit, take_4bit_state, take_8bit_state

__all__ = ["FourBit", "LLMInt8", "bitsandbytes"]

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


class _BitsAndBytes(Quantizer):
    key = "bitsandbytes"
    config: BitsAndBytesConfig

    def prepare(self, model: nn.Module) -> None:
        """Say in the settings which linear layers stay, as others that read the checkpoint have rules of their own."""
        self._floats = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
        super().prepare(model)
        if self.only is None:
            linear = [path for path, module in model.named_modules(remove_duplicate=False) if self.fits(module)]
            left = [path for path in linear if path in self.leaves or not self.select(path, model.get_submodule(path))]
            self.config.llm_int8_skip_modules = list(dict.fromkeys([*(self.config.llm_int8_skip_modules or ()), *left]))

    def takes(self, path: str) -> bool:
        """Not what its family keeps in float32 whatever the model around is in (T5's `wo`)."""
        return super().takes(path) and not any(f".{part}." in f".{path}." for part in self._floats)

    def sources(self, module: nn.Module, built: nn.Module) -> tuple[str, ...]:
        return tuple(name for name in ("weight", "bias") if name in module._parameters and module._parameters[name] is not None)

    def stored_names(self, tensors: Mapping[str, Any], slots: Mapping[str, Tensor]) -> tuple[str, ...]:
        assert self.marker is not None
        own = [name for name in tensors if name == "bias" or name.partition(".")[0] in ("weight", "SCB", "weight_format")]
        return tuple(own) if self.marker in tensors else ()

    def _with_bias(self, made: dict[str, Tensor], tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> Any:
        if "bias" in tensors:
            made["bias"] = tensors["bias"].to(dtype or tensors["bias"].dtype)
        return made

    @abstractmethod
    def _unpacked(self, built: Any) -> Tensor:
        """The weight that the packed one stands for."""

    def revert(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        weight = self._unpacked(built)
        return self._with_bias({"weight": weight}, tensors, weight.dtype)


class FourBit(_BitsAndBytes):
    """Layers become `bitsandbytes.nn.Linear4bit`: blocks of 64 weights, in 4 bits each, with a scale.

    The bias is held in the compute dtype: the product casts it in place otherwise, and what is saved would depend on whether the
    layer was ever called.
    """

    why = "4 bits a weight, by bitsandbytes"
    marker = "weight.absmax"

    def build(self, module: nn.Module, path: str) -> nn.Module:
        assert isinstance(module, nn.Linear)
        config, bnb = self.config, library()
        built = bnb.nn.Linear4bit(
            1,
            1,
            module.bias is not None,
            config.bnb_4bit_compute_dtype,
            compress_statistics=config.bnb_4bit_use_double_quant,
            quant_type=config.bnb_4bit_quant_type,
            quant_storage=config.bnb_4bit_quant_storage,
        )
        built.in_features, built.out_features = module.in_features, module.out_features
        # in the layout that it would otherwise take at its first call here, scales are bfloat16, odd shapes fail, and no way leads back
        built.support_avx512bf16_for_cpu = False
        packed = -(-module.in_features * module.out_features // 2)
        storage = config.bnb_4bit_quant_storage
        if packed % storage.itemsize:
            raise QuantizationError(
                f"`{path}` packs to {packed} bytes, which `bnb_4bit_quant_storage={storage}` cannot hold: use torch.uint8, or name it "
                "in `llm_int8_skip_modules`.",
                path=path,
            )
        data = torch.empty(packed // storage.itemsize, 1, dtype=storage)
        built.weight = bnb.nn.Params4bit(
            data,
            compress_statistics=config.bnb_4bit_use_double_quant,
            quant_type=config.bnb_4bit_quant_type,
            quant_storage=storage,
            bnb_quantized=True,
        )
        if module.bias is not None:
            built.bias = nn.Parameter(torch.empty(module.out_features, dtype=config.bnb_4bit_compute_dtype))
        built._register_load_state_dict_pre_hook(take_4bit_state, with_module=True)
        built.path = path
        return built

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        config, weight = self.config, tensors["weight"]
        if weight.dtype not in _FLOATS:
            raise QuantizationError(f"bitsandbytes packs no weights in `{weight.dtype}`: load in float32, bfloat16 or float16.")
        made = pack_4bit(weight, config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant, config.bnb_4bit_quant_storage)
        built.quant_state = made.quant_state
        return self._with_bias({"weight": made}, tensors, config.bnb_4bit_compute_dtype)

    def _unpacked(self, built: Any) -> Tensor:
        found: Tensor = library().functional.dequantize_4bit(built.weight.data, _state(built))
        return found

    def stored(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        parts = _state(built).as_dict(packed=True)
        weight = {"weight": built.weight.data, **{f"weight.{name}": part for name, part in parts.items()}}
        return self._with_bias(weight, tensors)

    def restore(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        weight = tensors.get("weight")
        parts = {name: part for name, part in tensors.items() if name.startswith("weight.")}
        if weight is None:
            raise _damaged(built.path)
        try:
            made = library().nn.Params4bit.from_prequantized(weight, parts, device=weight.device)
        except (AssertionError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise _damaged(built.path) from error
        state, size = made.quant_state, built.out_features * built.in_features
        if tuple(state.shape) != (built.out_features, built.in_features):
            raise QuantizationError(
                f"`{built.path}`: the packed weight is {tuple(state.shape)}, where the model has "
                f"{(built.out_features, built.in_features)}. The configuration does not belong to this checkpoint."
            )
        blocks = -(-size // state.blocksize)
        lengths = [(weight.nbytes, -(-size // 2)), (state.absmax.numel(), blocks), (state.code.numel(), 16)]
        if state.nested:
            lengths += [(state.state2.absmax.numel(), -(-blocks // state.state2.blocksize)), (state.state2.code.numel(), 256)]
        if any(found != wanted for found, wanted in lengths):
            raise _damaged(built.path)
        built.quant_state = made.quant_state
        return self._with_bias({"weight": made}, tensors, self.config.bnb_4bit_compute_dtype)


class LLMInt8(_BitsAndBytes):
    """Layers become `bitsandbytes.nn.Linear8bitLt`: rows in 8 bits with a scale, inputs too, columns with outliers apart."""

    why = "8 bits a weight, by bitsandbytes"
    marker = "SCB"

    def build(self, module: nn.Module, path: str) -> nn.Module:
        assert isinstance(module, nn.Linear)
        config, bnb = self.config, library()
        built = bnb.nn.Linear8bitLt(
            module.in_features,
            module.out_features,
            module.bias is not None,
            has_fp16_weights=config.llm_int8_has_fp16_weight,
            threshold=config.llm_int8_threshold,
        )
        if not config.llm_int8_has_fp16_weight:
            data = torch.empty(module.out_features, module.in_features, dtype=torch.int8)
            built.weight = bnb.nn.Int8Params(data, requires_grad=False, has_fp16_weights=False)
            built._register_load_state_dict_pre_hook(take_8bit_state, with_module=True)
        built.path = path
        return built

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        weight = tensors["weight"]
        if self.config.llm_int8_has_fp16_weight:
            trains = weight.device.type != "cpu"  # the library has no gradient by such a weight there
            made = library().nn.Int8Params(weight, requires_grad=trains, has_fp16_weights=True)
        else:
            made = pack_8bit(weight)
        return self._with_bias({"weight": made}, tensors)

    def _unpacked(self, built: Any) -> Tensor:
        if self.config.llm_int8_has_fp16_weight:
            return built.weight.data
        dtype = torch.float16 if built.bias is None else built.bias.dtype
        rows, scales = built.weight.data, _scales(built)
        return (rows * (scales.view(-1, 1) / 127)).to(dtype)

    def stored(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        if self.config.llm_int8_has_fp16_weight:
            return {name: tensor.data if name == "weight" else tensor for name, tensor in tensors.items()}
        made = {"weight": built.weight.data, "SCB": _scales(built), "weight_format": torch.zeros((), dtype=torch.uint8)}
        return self._with_bias(made, tensors)

    def restore(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        layout = int(tensors["weight_format"]) if "weight_format" in tensors else 0
        if layout:
            raise QuantizationError(
                f"8-bit weights are stored in a layout of old GPUs (`weight_format` {layout}), which bitsandbytes no longer reads: "
                "quantize the original checkpoint again."
            )
        weight, scales = tensors.get("weight"), tensors["SCB"]
        if weight is None or weight.dtype != torch.int8 or scales.dtype != torch.float32 or scales.shape != weight.shape[:1]:
            raise _damaged(built.path)
        made = library().nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False, CB=weight, SCB=scales)
        return self._with_bias({"weight": made}, tensors)


def _state(built: Any) -> Any:
    """The state of a 4-bit weight, which somebody may have let the library repack."""
    if getattr(built.weight.quant_state, "packing_format_for_cpu", False):
        raise QuantizationError(
            f"`{built.path}` was repacked for this CPU (`support_avx512bf16_for_cpu`), and its scales are lost: load the model anew.",
            path=built.path,
        )
    return built.weight.quant_state


def _damaged(path: str) -> QuantizationError:
    return QuantizationError(
        f"`{path}`: what the checkpoint holds of it is no packed weight of bitsandbytes'. Download or save it again.", path=path
    )


def _scales(built: Any) -> Tensor:
    """The rows' scales (out_features,): the weight has them until the first call, the layer's state from then on."""
    found: Tensor = built.weight.SCB if built.weight.SCB is not None else built.state.SCB
    return found


def bitsandbytes(config: BitsAndBytesConfig, model_config: Any) -> Quantizer:
    """The quantizer with these settings.

    Raises:
        QuantizationError: the settings ask for neither 4 nor 8 bits, or the library is missing.
    """
    if not config.is_quantizable():
        raise QuantizationError("`BitsAndBytesConfig` asks for nothing: set `load_in_4bit=True` or `load_in_8bit=True`.")
    library()
    return LLMInt8(config) if config.load_in_8bit else FourBit(config)
