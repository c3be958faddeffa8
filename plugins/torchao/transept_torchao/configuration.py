"""`TorchAoConfig`: which of torchao's ways to quantize, as an object of the library's or by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch

from transept.errors import QuantizationError, UnknownArgumentError, did_you_mean
from transept.quantization import QuantizationConfig

from .library import library

__all__ = ["TorchAoConfig"]


class TorchAoConfig(QuantizationConfig):
    """How torchao packs linear layers.

    `TorchAoConfig(Int8WeightOnlyConfig())` takes an object of `torchao.quantization`, `TorchAoConfig("intx_weight_only",
    group_size=32)` one by its name, with its arguments.
    """

    quant_method: Literal["torchao"] = "torchao"
    quant_type: Any = "int8_weight_only"
    """An `AOBaseConfig`; given by name or as a checkpoint has it, it becomes one."""
    include_input_output_embeddings: bool = False
    """Pack the token embedding and the head as well; tied ones stay one tensor."""
    untie_embedding_weights: bool = False

    def __init__(self, quant_type: Any = "int8_weight_only", **values: Any) -> None:
        own = {name: values.pop(name) for name in list(values) if name in type(self).model_fields}
        super().__init__(quant_type=_made(quant_type, values), **own)
        if self.untie_embedding_weights:
            raise QuantizationError(
                "`untie_embedding_weights` is not served: tied weights are packed as one tensor. Drop it; to part them, load with "
                "`tie_word_embeddings=False`."
            )

    def to_dict(self) -> dict[str, Any]:
        kind = library().core.config.config_to_dict(self.quant_type)
        return {**super().to_dict(), "quant_type": {"default": kind}}

    def with_loading(self, other: Self) -> Self:
        """As the base's; whoever names fewer modules than stayed when the checkpoint was made asks for nothing else."""
        if set(other.modules_to_not_convert or ()) <= set(self.modules_to_not_convert or ()):
            other = other.model_copy(update={"modules_to_not_convert": None})
        return super().with_loading(other)


def _made(quant_type: Any, arguments: dict[str, Any]) -> Any:
    """torchao's object.

    Raises:
        QuantizationError: nothing of torchao has the name; UnknownArgumentError: it has no such argument.
    """
    torchao = library()
    base = torchao.core.config.AOBaseConfig
    if isinstance(quant_type, str):
        return _named(torchao.quantization, quant_type, arguments)
    if arguments:
        name = next(iter(arguments))
        hint = did_you_mean(name, TorchAoConfig.model_fields)
        raise UnknownArgumentError(f"`TorchAoConfig` got an unknown argument `{name}`.{hint}", argument=name)
    if isinstance(quant_type, base):
        return quant_type
    if isinstance(quant_type, Mapping) and set(quant_type) == {"default"}:
        try:
            return torchao.core.config.config_from_dict(quant_type["default"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise QuantizationError(f"`quant_type` of the checkpoint is nothing that this torchao knows: {error}") from error
    raise QuantizationError(
        f"`quant_type` is a `{type(quant_type).__name__}`: give an object of `torchao.quantization`, such as `Int8WeightOnlyConfig()`, "
        "or a name, such as `int8_weight_only`."
    )


def _named(quantization: Any, name: str, arguments: dict[str, Any]) -> Any:
    kinds = {
        "int8_weight_only": quantization.Int8WeightOnlyConfig,
        "int8_dynamic_activation_int8_weight": quantization.Int8DynamicActivationInt8WeightConfig,
        "int4_weight_only": quantization.Int4WeightOnlyConfig,
        "intx_weight_only": quantization.IntxWeightOnlyConfig,
        "float8_weight_only": quantization.Float8WeightOnlyConfig,
        "float8_dynamic_activation_float8_weight": quantization.Float8DynamicActivationFloat8WeightConfig,
    }
    if name not in kinds:
        raise QuantizationError(
            f"torchao has no `quant_type` `{name}`.{did_you_mean(name, kinds)} Names are: {', '.join(kinds)}."
        )
    arguments = dict(arguments)
    if name == "intx_weight_only":
        arguments.setdefault("weight_dtype", torch.int4)
        arguments.setdefault("granularity", quantization.PerGroup(arguments.pop("group_size", 32)))
    elif name.startswith("int8") and "group_size" in arguments:
        arguments["granularity"] = quantization.PerGroup(arguments.pop("group_size"))
    try:
        return kinds[name](**arguments)
    except TypeError as error:
        known = list(getattr(kinds[name], "__dataclass_fields__", ()))
        wrong = next((one for one in arguments if one not in known), None)
        if wrong is None:
            raise QuantizationError(f"`{name}` cannot be made: {error}") from error
        raise UnknownArgumentError(
            f"`TorchAoConfig` and `{name}` have no argument `{wrong}`.{did_you_mean(wrong, [*known, *TorchAoConfig.model_fields])}",
            argument=wrong,
        ) from None
