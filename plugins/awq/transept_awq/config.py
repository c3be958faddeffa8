"""The settings of AWQ, by the names that checkpoints and the peer have for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator

from transept.quantization import QuantizationConfig

__all__ = ["AwqConfig"]


def _group(size: int) -> int:
    if size != -1 and size < 1:
        raise ValueError(f"{size}: give a number of columns, or -1 for whole rows")
    return size


def _word(value: Any) -> Any:
    """Enumerations and other cases of a word."""
    value = getattr(value, "value", value)
    return value.lower() if isinstance(value, str) else value


class AwqConfig(QuantizationConfig):
    """AWQ (Lin et al., arXiv:2306.00978): 4-bit weights whose strong columns were scaled up before they were rounded.

    A checkpoint needs none of these from anybody: they stand in its `config.json`.
    """

    loading_fields: ClassVar[frozenset[str]] = frozenset({"backend"})

    quant_method: Literal["awq"] = "awq"
    bits: int = 4
    group_size: Annotated[int, AfterValidator(_group)] = 128
    """Columns that share a scale and a zero; -1: all of a row."""
    zero_point: bool = True
    """Groups have zeros of their own; else each is 8, the middle."""
    backend: Annotated[str, BeforeValidator(_word)] = "auto"
    """Others' choice of kernel; here weights are unpacked by torch, on every device. `llm-awq` stands for that format."""
    format: Annotated[str, BeforeValidator(_word)] = "gemm"
    """Order of the integers: `gemm` or `gemv`. Files call it `version`."""

    def __init__(self, bits: int = 4, group_size: int = 128, zero_point: bool = True, **values: Any) -> None:
        super().__init__(bits=bits, group_size=group_size, zero_point=zero_point, **_spelled(values))

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        return super().from_dict(_spelled({**config_dict, **kwargs}), return_unused_kwargs)

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "version": self.format}


def _spelled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Older spellings in today's."""
    made = dict(values)
    if (version := made.pop("version", None)) is not None:
        made["format"] = version
    if _word(made.get("backend")) == "llm-awq":
        made.update(format="llm-awq", backend="auto")
    if _word(made.get("backend")) == "autoawq":
        made["backend"] = "auto"
    return made
