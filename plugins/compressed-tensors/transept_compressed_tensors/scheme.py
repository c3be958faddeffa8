"""What one group of layers is stored in: a scheme of the checkpoint's settings, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transept.errors import QuantizationError

from .config import CompressedTensorsConfig

__all__ = ["Activations", "Scheme", "schemes"]

_FORMATS = {
    "pack-quantized": ("int",),
    "int-quantized": ("int",),
    "float-quantized": ("float",),
    "naive-quantized": ("int", "float"),
}


@dataclass(frozen=True)
class Activations:
    """How a layer's inputs are rounded before the product."""

    bits: int
    kind: str
    """`int` or `float`, which is float8 e4m3."""
    symmetric: bool
    strategy: str
    """`token`: a scale for each position; `tensor`: one."""
    dynamic: bool
    """Scales are taken from the inputs themselves; else they are stored."""


@dataclass(frozen=True)
class Scheme:
    """How the weights of some layers are stored."""

    targets: tuple[str, ...]
    packed: bool
    """Integers in int32 words; else one value an element."""
    bits: int
    kind: str
    symmetric: bool
    strategy: str
    """Scales: one (`tensor`), one a row (`channel`), one for each `group_size` columns of a row (`group`), one a `block`."""
    group_size: int | None
    block: tuple[int, int] | None
    ordered: bool
    """The group of each column is stored."""
    activations: Activations | None


def schemes(config: CompressedTensorsConfig) -> list[Scheme]:
    """The schemes of the settings, in their order.

    Raises:
        QuantizationError: one is not read here.
    """
    if not config.config_groups:
        raise QuantizationError(
            "`quantization_config` of compressed-tensors has no `config_groups`: it says of no layer how it is stored."
        )
    return [_scheme(name, group, config.format) for name, group in config.config_groups.items()]


def _scheme(name: str, group: Any, default_format: str) -> Scheme:
    where = f"`config_groups[{name!r}]`"
    if not isinstance(group, Mapping) or not isinstance(group.get("weights"), Mapping):
        raise QuantizationError(f"{where} does not say how weights are stored, so it is not read here.")
    weights, layout = group["weights"], group.get("format") or default_format
    bits, kind, symmetric = _number_kind(where, weights)
    if kind not in _FORMATS.get(layout, ()):
        read = ", ".join(f"`{one}`" for one in _FORMATS)
        raise QuantizationError(
            f"{where} is in the format `{layout}` with type `{kind}`, which is not read here; read are {read}."
        )
    size, block = weights.get("group_size"), weights.get("block_structure")
    strategy = weights.get("strategy") or ("tensor" if size is None else "channel" if size == -1 else "group")
    if strategy not in ("tensor", "channel", "group", "block"):
        raise QuantizationError(f"{where}: the strategy `{strategy}` of weights is not read here.")
    if strategy == "group" and (type(size) is not int or size < 1):
        raise QuantizationError(f"{where}: groups need a `group_size`, and it is {size!r}.")
    if strategy == "block" and not (
        isinstance(block, list | tuple) and len(block) == 2 and all(type(n) is int and n > 0 for n in block)
    ):
        raise QuantizationError(f"{where}: blocks need a `block_structure` of two numbers, and it is {block!r}.")
    if weights.get("dynamic"):
        raise QuantizationError(f"{where}: weights that are quantized at each call are not stored, so not read here.")
    if group.get("output_activations"):
        raise QuantizationError(f"{where}: outputs that are quantized (`output_activations`) are not read here.")
    if layout == "pack-quantized" and not symmetric and strategy not in ("group", "channel"):
        raise QuantizationError(f"{where}: packed zeros of the strategy `{strategy}` are not read here.")
    return Scheme(
        targets=tuple(group.get("targets") or ()),
        packed=layout == "pack-quantized",
        bits=bits,
        kind=kind,
        symmetric=symmetric,
        strategy=strategy,
        group_size=size if strategy == "group" else None,
        block=(block[0], block[1]) if strategy == "block" else None,
        ordered=weights.get("actorder") in ("group", "dynamic", True),
        activations=_activations(where, group.get("input_activations")),
    )


def _activations(where: str, values: Any) -> Activations | None:
    if not values:
        return None
    bits, kind, symmetric = _number_kind(f"{where}, `input_activations`", values)
    strategy, dynamic = values.get("strategy") or "tensor", values.get("dynamic", False)
    if strategy not in ("token", "tensor") or dynamic not in (True, False) or (strategy == "token" and not dynamic):
        raise QuantizationError(f"{where}: inputs quantized by `{strategy}`, dynamic={dynamic!r}, are not read here.")
    return Activations(bits, kind, symmetric, strategy, bool(dynamic))


def _number_kind(where: str, values: Mapping[str, Any]) -> tuple[int, str, bool]:
    bits, kind = values.get("num_bits", 8), values.get("type", "int")
    if type(bits) is not int or not (1 <= bits <= 8 if kind == "int" else bits == 8 and kind == "float"):
        raise QuantizationError(
            f"{where} has numbers of type {kind!r} with {bits!r} bits; integers of 1 to 8 and floats of 8 are read here."
        )
    symmetric = bool(values.get("symmetric", True))
    if kind == "float" and not symmetric:
        raise QuantizationError(f"{where} has 8-bit floats with zeros, which are not read here.")
    return bits, kind, symmetric
