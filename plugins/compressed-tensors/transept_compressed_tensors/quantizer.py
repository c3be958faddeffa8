"""The quantizer: which layers are packed, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.quantization import Quantizer, pack_bits

from .config import CompressedTensorsConfig
from .linear import CompressedLinear
from .patterns import matches
from .scheme import Scheme, schemes

__all__ = ["CompressedTensors", "compressed_tensors"]


class CompressedTensors(Quantizer):
    """Layers that the checkpoint holds with a `weight_scale` become `CompressedLinear`s, each by the scheme that is for it."""

    key = "compressed-tensors"
    why = "few bits a weight, as the checkpoint has them"
    marker = "weight_scale"
    config: CompressedTensorsConfig

    def __init__(self, config: CompressedTensorsConfig) -> None:
        super().__init__(config)
        self.schemes = schemes(config)

    def look_at(self, tensors: Mapping[str, Any]) -> None:
        super().look_at(tensors)
        if not self.found:
            raise QuantizationError(_NEEDS_DATA.format("The checkpoint holds floats"))

    def takes(self, path: str) -> bool:
        ignored = any(matches(one, path, _CLASSES) for one in self.config.ignore or ())
        return super().takes(path) and not ignored and self.scheme_for(path) is not None

    def scheme_for(self, path: str) -> Scheme | None:
        """The scheme whose targets name the layer: by its path, then by a pattern, then by its class."""
        if self.found and len(self.schemes) == 1:
            return self.schemes[0]  # what is packed is so by the only one there is
        targets = [(target, scheme) for scheme in self.schemes for target in scheme.targets]
        targets.sort(key=lambda one: (one[0] in _CLASSES, one[0].startswith("re:")))
        return next((scheme for target, scheme in targets if matches(target, path, _CLASSES)), None)

    def build(self, module: nn.Module, path: str) -> nn.Module:
        assert isinstance(module, nn.Linear)
        scheme = self.scheme_for(path)
        if scheme is None:
            raise QuantizationError(
                f"`{path}` is packed, and no group of `config_groups` has it among its `targets`.", path=path
            )
        if scheme.group_size is not None and module.in_features % scheme.group_size:
            raise QuantizationError(
                f"`{path}` has {module.in_features} columns, which groups of {scheme.group_size} do not divide.", path=path
            )
        return CompressedLinear(module.in_features, module.out_features, module.bias, scheme, path)

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        raise QuantizationError(_NEEDS_DATA.format(f"`{built.path}` holds floats"), path=built.path)

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return {"weight": built.dequantize()}

    def stored(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        if built.scheme.kind == "float":
            return {**tensors, "weight": tensors["weight"].view(torch.float8_e4m3fn)}
        if not built.scheme.packed:
            return tensors
        return {**tensors, "weight_shape": torch.tensor([built.out_features, built.in_features])}

    def stored_names(self, tensors: Mapping[str, Any], slots: Mapping[str, Tensor]) -> tuple[str, ...]:
        found = super().stored_names(tensors, slots)
        known = ("weight_shape", *_MAY_BE_THERE)
        return (*found, *(name for name in known if name in tensors and name not in slots)) if found else ()

    def restore(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        """As the file has them, without what says nothing: the shape, zeros that are 0, and groups in order."""
        held = dict(tensors)
        shape = held.pop("weight_shape", None)
        if shape is not None and shape.tolist() != [built.out_features, built.in_features]:
            raise QuantizationError(
                f"`weight_shape` of `{built.path}` is {shape.tolist()}, and the layer is {built.out_features} x {built.in_features}.",
                path=built.path,
            )
        if built.scheme.kind == "float" and held["weight"].dtype == torch.float8_e4m3fn:
            held["weight"] = held["weight"].view(torch.uint8)
        for name in _MAY_BE_THERE:
            if name in held and getattr(built, name) is None:
                self._leave(name, held.pop(name), built)
        for name in ("weight_scale", "weight_zero_point", "input_scale", "input_zero_point"):
            if name in held and held[name].dim() == 0:
                held[name] = held[name].reshape(1)
        zeros = held.get("weight_zero_point")
        if zeros is not None and built.scheme.packed and zeros.dtype == torch.int8:  # as early writers left them
            held["weight_zero_point"] = pack_bits(zeros.int() + (1 << built.scheme.bits - 1), built.scheme.bits, 0)
        made = super().restore(held, built)
        groups = made.get("weight_g_idx")
        if groups is not None and bool(((groups < 0) | (groups >= built.weight_scale.shape[-1])).any()):
            raise QuantizationError(f"`weight_g_idx` of `{built.path}` names groups that it does not have.", path=built.path)
        return made

    def _leave(self, name: str, tensor: Tensor, built: Any) -> None:
        """Leave out a tensor that the scheme does not ask for, if it would change nothing."""
        idle = bool((tensor.float() == 0).all())
        if name == "weight_g_idx":
            size = built.scheme.group_size or built.in_features
            idle = bool((tensor == -1).all()) or tensor.tolist() == [column // size for column in range(built.in_features)]
        if not idle:
            raise QuantizationError(
                f"`{built.path}` has a `{name}` that its scheme does not know: `quantization_config` is not that of these weights.",
                path=built.path,
            )


_CLASSES = {"Linear", "Module"}
_MAY_BE_THERE = ("weight_zero_point", "weight_g_idx", "input_zero_point")
"""Some writers store these although the scheme says that they do nothing."""
_NEEDS_DATA = (
    "{}, and compressed-tensors is a format of weights that others quantized, with data: load such a checkpoint. To quantize "
    "yourself, `transept quantize MODEL OUT --method gptq --data FILE`."
)


def compressed_tensors(config: CompressedTensorsConfig, model_config: Any) -> CompressedTensors:
    """The quantizer with these settings.

    Raises:
        QuantizationError: they are of a layout that this dist does not read.
    """
    extra = config.model_extra or {}
    if config.dequantize or config.run_compressed is False:
        raise QuantizationError(
            "Weights stay packed while they load: drop `dequantize`, and call `model.dequantize()` afterwards."
        )
    if config.use_optimized_inference:
        raise QuantizationError("`use_optimized_inference=True` asks for 8-bit kernels, which are not here: drop it.")
    if config.kv_cache_scheme:
        raise QuantizationError("`kv_cache_scheme` quantizes keys and values, which is not read here.")
    if extra.get("transform_config"):
        raise QuantizationError("`transform_config` rotates weights, which is not read here.")
    if (extra.get("sparsity_config") or {}).get("format", "dense") != "dense":
        raise QuantizationError(
            f"The weights are stored sparse, as `{extra['sparsity_config']['format']}`, which is not read here."
        )
    return CompressedTensors(config)
