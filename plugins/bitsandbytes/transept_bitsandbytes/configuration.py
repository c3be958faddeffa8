"""`BitsAndBytesConfig`: the settings, by the names that checkpoints have for them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BeforeValidator, Field

from transept.errors import QuantizationError
from transept.quantization import QuantizationConfig

__all__ = ["BitsAndBytesConfig"]


def _one_of(*allowed: torch.dtype) -> Any:
    """A validator from a dtype or its name to one of these; None means the first."""
    names = ", ".join(f"`{_name(dtype)}`" for dtype in allowed)

    def parse(value: Any) -> torch.dtype:
        found = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else value
        found = allowed[0] if found is None and value is None else found
        if found not in allowed:
            raise ValueError(f"must be one of {names}")
        return found

    return BeforeValidator(parse)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


_SKIPPED = {"llm_int8_skip_modules": "modules_to_not_convert", "modules_to_not_convert": "llm_int8_skip_modules"}
_Compute = Annotated[torch.dtype, _one_of(torch.float32, torch.float16, torch.bfloat16)]
_Storage = Annotated[torch.dtype, _one_of(torch.uint8, torch.int8, torch.float16, torch.bfloat16, torch.float32, torch.float64)]


class BitsAndBytesConfig(QuantizationConfig):
    """How bitsandbytes packs linear layers: `load_in_4bit` or `load_in_8bit`, and the details of each.

    The 4-bit types and double quantization are those of QLoRA (https://arxiv.org/abs/2305.14314), the 8-bit product that of LLM.int8
    (https://arxiv.org/abs/2208.07339).
    """

    loading_fields: ClassVar[frozenset[str]] = frozenset({"bnb_4bit_compute_dtype", "llm_int8_threshold"})

    quant_method: Literal["bitsandbytes"] = "bitsandbytes"
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    llm_int8_threshold: float = Field(default=6.0, ge=0.0)
    """Columns of the input with a value of this size are computed unpacked; 0.0: none."""
    llm_int8_skip_modules: list[str] | None = None
    """For 4 bits as well: another name of `modules_to_not_convert`."""
    llm_int8_enable_fp32_cpu_offload: bool = False
    """Accepted from older code; packed layers compute on a CPU here, so none has to stay in 32 bits there."""
    llm_int8_has_fp16_weight: bool = False
    """The weights stay floats, and are rounded in each product. They can be trained, but on a CPU, where they are frozen."""
    bnb_4bit_compute_dtype: _Compute = torch.float32
    """What 4-bit products are computed in."""
    bnb_4bit_quant_type: Literal["fp4", "nf4"] = "fp4"
    bnb_4bit_use_double_quant: bool = False
    """The scales of the blocks are packed in 8 bits themselves."""
    bnb_4bit_quant_storage: _Storage = torch.uint8
    """The dtype that packed bytes are held as: FSDP shards tensors of one dtype together."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        said = [names for names in (self.llm_int8_skip_modules, self.modules_to_not_convert) if names is not None]
        if said:
            self.llm_int8_skip_modules = list(dict.fromkeys(name for names in said for name in names))
        if self.load_in_4bit and self.load_in_8bit:
            raise QuantizationError(
                "`load_in_4bit` and `load_in_8bit` are both true: a layer is packed in one way, choose one."
            )
        if self.llm_int8_has_fp16_weight and not self.load_in_8bit:
            raise QuantizationError("`llm_int8_has_fp16_weight` belongs to `load_in_8bit=True`: drop it, or set that.")
        if self.llm_int8_enable_fp32_cpu_offload:
            warnings.warn(
                "`llm_int8_enable_fp32_cpu_offload` changes nothing: layers on the CPU are packed and compute there.",
                stacklevel=2,
            )

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _SKIPPED:  # two names of one thing
            super().__setattr__(_SKIPPED[name], value)

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """As the base's; checkpoints of other libraries also have `_load_in_4bit` and `_load_in_8bit`, which say the same twice."""
        values = {name: value for name, value in config_dict.items() if name not in ("_load_in_4bit", "_load_in_8bit")}
        return super().from_dict(values, return_unused_kwargs, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        found = super().to_dict()
        del found["modules_to_not_convert"]  # files have it under the peer's name
        return found

    def quantization_method(self) -> str | None:
        """`llm_int8`, `nf4`, `fp4`, or None where neither 4 nor 8 bits are asked for."""
        return "llm_int8" if self.load_in_8bit else self.bnb_4bit_quant_type if self.load_in_4bit else None

    def is_quantizable(self) -> bool:
        return self.load_in_4bit or self.load_in_8bit

    def with_loading(self, other: Self) -> Self:
        """As the base's; whoever names fewer modules than stayed when the checkpoint was made asks for nothing else."""
        if set(other.llm_int8_skip_modules or ()) <= set(self.llm_int8_skip_modules or ()):
            other = other.model_copy(update=dict.fromkeys(_SKIPPED))
        return super().with_loading(other)
