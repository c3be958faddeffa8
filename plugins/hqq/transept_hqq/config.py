"""The settings of HQQ, by the names that checkpoints and the peer have for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from transept.errors import QuantizationError, UnknownArgumentError, did_you_mean
from transept.quantization import QuantizationConfig

__all__ = ["HqqConfig", "layer_settings"]

BITS = (8, 4, 3, 2, 1)


def layer_settings(nbits: int = 4, group_size: int | None = 64, axis: int = 1, view_as_float: bool = False) -> dict[str, Any]:
    """The settings of a layer as hqq writes them into `config.json`.

    Raises:
        QuantizationError: there is no such layout.
    """
    if nbits not in BITS:
        raise QuantizationError(f"`nbits={nbits!r}` of HQQ is not there: it has {', '.join(map(str, BITS))} bits.")
    if group_size is not None and (type(group_size) is not int or group_size < 8 or group_size % 8):
        raise QuantizationError(
            f"`group_size={group_size!r}` of HQQ must be a multiple of 8, or None for whole rows or columns."
        )
    if axis not in (0, 1):
        raise QuantizationError(f"`axis={axis!r}` of HQQ is 0 or 1.")
    weights = {
        "nbits": nbits,
        "channel_wise": True,
        "group_size": group_size,
        "optimize": True,
        "round_zero": nbits == 4,
        "axis": axis,
        "view_as_float": view_as_float,
    }
    return {"weight_quant_params": weights, "scale_quant_params": None, "zero_quant_params": None, "offload_meta": False}


class HqqConfig(QuantizationConfig):
    """Half-quadratic quantization (Badri and Shaji, 2023): weights of 8, 4, 3, 2 or 1 bits, without data.

    Args:
        nbits: bits of a weight.
        group_size: weights that share a scale and a zero; a multiple of 8. None: a whole row, with axis 0 a whole column.
        view_as_float: others store the packed bytes under the name of a float dtype; here they are read so, never written.
        axis: 1, also for None: a group is consecutive weights of a row. 0: weights that stand apart, which is nearer to the floats.
        dynamic_config: the four above by a layer's tag, such as `self_attn.q_proj`: only those are quantized.
        skip_modules: tags of layers to leave.
        quant_config: what the four make, as files have it; not together with them.
    """

    loading_fields: ClassVar[frozenset[str]] = frozenset()

    quant_method: Literal["hqq"] = "hqq"
    quant_config: dict[str, Any]
    """Settings of a layer, or of layers by their tag, as `layer_settings` gives them."""
    skip_modules: list[str] = Field(default_factory=lambda: ["lm_head"])

    def __init__(
        self,
        nbits: int = 4,
        group_size: int | None = 64,
        view_as_float: bool = False,
        axis: int | None = None,
        dynamic_config: Mapping[str, Mapping[str, Any]] | None = None,
        **values: Any,
    ) -> None:
        if "quant_config" not in values:
            axis = 1 if axis is None else axis
            if dynamic_config is None:
                values["quant_config"] = layer_settings(nbits, group_size, axis, view_as_float)
            else:
                values["quant_config"] = {tag: _of_layer(tag, settings) for tag, settings in dynamic_config.items()}
        super().__init__(**values)

    def settings_for(self, tag: str) -> dict[str, Any] | None:
        """The `weight_quant_params` of a layer with this tag; None where it is left."""
        if tag in self.skip_modules:
            return None
        found = self.quant_config
        if "weight_quant_params" not in found:
            if tag not in found:
                return None
            found = found[tag]
        weights: dict[str, Any] = found["weight_quant_params"]
        return weights


def _of_layer(tag: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    known = ("nbits", "group_size", "axis", "view_as_float")
    for name in settings:
        if name not in known:
            raise UnknownArgumentError(
                f"`dynamic_config[{tag!r}]` has an unknown `{name}`.{did_you_mean(name, known)}", argument=name
            )
    return layer_settings(**settings)
