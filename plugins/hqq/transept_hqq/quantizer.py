"""The quantizer: which layers are packed, how, and how files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.quantization import Quantizer

from .config import BITS, HqqConfig
from .linear import HQQLinear, Layout
from .packing import dtype_of, pack
from .solver import solve

__all__ = ["HQQ", "hqq"]

_AT_ONCE = 1 << 20
"""Weights that are solved for at a time."""
_HELD = ("W_q", "scale", "zero")
_DESCRIBED = ("nbits", "group_size", "axis", "shape")
_OTHERS = (
    "packing",
    "unpack_view_dtype",
    "view_as_float",
    "quant_scale",
    "quant_zero",
    "compute_dtype",
    "offload_meta",
    "encoded_state_dict",
    "stores_quant_config",
    "channel_wise",
    "optimize",
    "round_zero",
)
"""What hqq stores beside, as small tensors: it says how the three above are to be read."""


class HQQ(Quantizer):
    """Linear layers become `HQQLinear`s: those that a checkpoint holds packed, else those that the settings take."""

    key = "hqq"
    why = "few bits a weight, without data"
    marker = "W_q"
    config: HqqConfig

    def kept_by_default(self, model: Any) -> list[str]:
        kept = super().kept_by_default(model)
        if "skip_modules" not in self.config.model_fields_set:
            return kept
        tied = {name.rpartition(".")[0] for tie in getattr(model, "tied_weights", {}).items() for name in tie}
        return [path for path in kept if path in tied]  # for the rest, `skip_modules` was said

    def takes(self, path: str) -> bool:
        return super().takes(path) and self.config.settings_for(tag_of(path)) is not None

    def build(self, module: nn.Module, path: str) -> nn.Module:
        assert isinstance(module, nn.Linear)
        settings = self.config.settings_for(tag_of(path))
        if settings is None:
            raise QuantizationError(f"`{path}` is packed, and `quant_config` has no settings for `{tag_of(path)}`.", path=path)
        axis, bits = settings["axis"], settings["nbits"]
        size = settings["group_size"] or (module.in_features if axis == 1 else module.out_features)
        layout = Layout(module.out_features, module.in_features, bits, size, axis)
        if not layout.divides():
            raise QuantizationError(
                f"`{path}` is {module.out_features} x {module.in_features}, which groups of {size} with {bits} bits do not divide: choose "
                "another `group_size`, or name it in `modules_to_not_convert`.",
                path=path,
            )
        return HQQLinear(layout, module.bias, path)

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        weight, layout = tensors["weight"], built.layout
        if not bool(torch.isfinite(weight).all()):
            raise QuantizationError(
                f"`{built.path}` holds values that are not finite, which HQQ cannot round to.", path=built.path
            )
        settings = self.config.settings_for(tag_of(built.path)) or {}
        groups, dim = weight.reshape(layout.lines, layout.width), 1 - layout.axis
        round_zero = settings.get("round_zero", False)
        # groups are independent, so some at a time: what is needed meanwhile stays within some tens of MiB
        parts = [
            solve(part.float(), layout.bits, layout.axis, round_zero)
            for part in groups.split(max(1, _AT_ONCE // layout.group_size), dim)
        ]
        integers, scale, zero = (torch.cat(one, dim) for one in zip(*parts, strict=True))
        return {"W_q": pack(integers, layout.bits), "scale": scale.to(weight.dtype), "zero": zero.to(weight.dtype)}

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return {"weight": built.dequantize()}

    def stored(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        """The three, and what hqq needs beside them."""
        layout = built.layout
        settings = self.config.settings_for(tag_of(built.path)) or {}
        kind = dtype_of(layout.bits)
        described: dict[str, Any] = {
            "nbits": layout.bits,
            "group_size": layout.group_size,
            "axis": layout.axis,
            "shape": [layout.rows, layout.columns],
            "packing": "3bit_32" if layout.bits == 3 else f"{layout.bits}bit_u8",
            "unpack_view_dtype": str(kind),
            "compute_dtype": str(tensors["scale"].dtype),
            "round_zero": bool(settings.get("round_zero", False)),
            **dict.fromkeys(("view_as_float", "quant_scale", "quant_zero", "offload_meta"), False),
            **dict.fromkeys(("encoded_state_dict", "stores_quant_config", "channel_wise", "optimize"), True),
        }
        return {**tensors, **{name: _encoded(value) for name, value in described.items()}}

    def stored_names(self, tensors: Mapping[str, Any], slots: Mapping[str, Tensor]) -> tuple[str, ...]:
        if self.marker not in tensors:
            return ()
        return tuple(name for name in (*_HELD, *_DESCRIBED, *_OTHERS) if name in tensors)

    def restore(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        """The three, where the tensors beside them say what the settings say."""
        layout = built.layout
        meant = {
            "nbits": layout.bits,
            "group_size": layout.group_size,
            "axis": layout.axis,
            "shape": [layout.rows, layout.columns],
        }
        for name, value in meant.items():
            there = tensors[name].tolist() if name in tensors else value
            if there != value:
                raise QuantizationError(
                    f"`{name}` of `{built.path}` is {there}, and the settings make it {value}: `quant_config` is not that of these "
                    "weights.",
                    path=built.path,
                )
        for name in ("quant_scale", "quant_zero"):
            if name in tensors and bool(tensors[name]):
                raise QuantizationError(
                    f"`{built.path}` has quantized scales or zeros (`{name}`), which are not read here.", path=built.path
                )
        held = {name: tensors[name] for name in _HELD if name in tensors}
        if held["W_q"].is_floating_point():  # `view_as_float`: bytes under another name
            held["W_q"] = held["W_q"].view(dtype_of(layout.bits))
        return super().restore(held, built)


def tag_of(path: str) -> str:
    """A layer's path without `model`, `layers` and numbers: how HQQ calls all layers of a kind."""
    return ".".join(part for part in path.split(".") if part not in ("model", "layers") and not part.isdecimal())


def _encoded(value: Any) -> Tensor:
    """A value as hqq puts it into safetensors."""
    if isinstance(value, bool):
        return torch.tensor(int(value), dtype=torch.uint8)
    if isinstance(value, int):
        return torch.tensor(value, dtype=torch.int32)
    return torch.tensor(list(value.encode()), dtype=torch.uint8) if isinstance(value, str) else torch.tensor(value)


def hqq(config: HqqConfig, model_config: Any) -> HQQ:
    """The quantizer with these settings.

    Raises:
        QuantizationError: they are not whole, or of a layout that this dist does not read.
    """
    found = config.quant_config
    for tag, one in found.items() if found and "weight_quant_params" not in found else [("", found)]:
        weights = one.get("weight_quant_params") if isinstance(one, Mapping) else None
        where = f"`quant_config[{tag!r}]`" if tag else "`quant_config`"
        if not isinstance(weights, Mapping) or any(name not in weights for name in ("nbits", "group_size", "axis")):
            raise QuantizationError(f"{where} has no `weight_quant_params` with `nbits`, `group_size` and `axis`.")
        if weights["nbits"] not in BITS or weights["axis"] not in (0, 1):
            raise QuantizationError(
                f"{where} has nbits={weights['nbits']!r} and axis={weights['axis']!r}, which are not read here."
            )
        if one.get("scale_quant_params") or one.get("zero_quant_params"):
            raise QuantizationError(f"{where} quantizes scales or zeros, which is not read here.")
    return HQQ(config)
