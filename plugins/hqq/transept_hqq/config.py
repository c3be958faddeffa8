"""The settings of HQQ, by the names that checkpoints and the peer have for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

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

    quant_method: Literal["hqq"] = "hqq"
    nbits: int = 4
    group_size: int | None = 64
    view_as_float: bool = False
    axis: int | None = None
    dynamic_config: dict[str, dict[str, Any]] | None = None
    skip_modules: list[str] = Field(default_factory=lambda: ["lm_head"])
    quant_config: dict[str, Any] = Field(default_factory=dict)
    """Settings of a layer, or of layers by their tag, as `layer_settings` gives them."""

    def __init__(
        self, nbits: int | None = None, group_size: int | Literal["default"] | None = "default", **values: Any
    ) -> None:
        if nbits is not None:
            values["nbits"] = nbits
        if group_size != "default":
            values["group_size"] = group_size
        given = set(values)
        super().__init__(**_whole(values))
        self.__pydantic_fields_set__.intersection_update(given)  # what follows from others was not said

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


_FOUR = ("nbits", "group_size", "axis", "view_as_float")


def _whole(values: dict[str, Any]) -> dict[str, Any]:
    """The values with `quant_config` made from the others, or, for one that all layers share, the others from it."""
    made = dict(values)
    config = made.get("quant_config")
    if config:
        weights = config.get("weight_quant_params") if isinstance(config, Mapping) else None
        shared = {name: weights[name] for name in _FOUR if name in weights} if isinstance(weights, Mapping) else {}
        for name, value in shared.items():
            said = made.get(name, value)
            if said is not None and said != value:
                raise QuantizationError(
                    f"`{name}={said!r}` and the {value!r} of `quant_config` contradict each other: give one."
                )
        return {**made, **shared}
    made.setdefault("axis", 1)
    if made["axis"] is None:
        made["axis"] = 1
    if "quant_config" not in made and (layers := made.get("dynamic_config")) is not None:
        made["quant_config"] = {tag: _of_layer(tag, settings) for tag, settings in layers.items()}
    elif "quant_config" not in made:
        made["quant_config"] = layer_settings(**{name: made[name] for name in _FOUR if name in made})
    return made


def _of_layer(tag: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    known = ("nbits", "group_size", "axis", "view_as_float")
    for name in settings:
        if name not in known:
            raise UnknownArgumentError(
                f"`dynamic_config[{tag!r}]` has an unknown `{name}`.{did_you_mean(name, known)}", argument=name
            )
    return layer_settings(**settings)
