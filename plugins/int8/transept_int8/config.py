"""The settings of 8-bit weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from transept.quantization import QuantizationConfig

__all__ = ["Int8Config"]


def _group(size: int) -> int:
    if size != -1 and size < 1:
        raise ValueError(f"{size}: give a number of weights, or -1 for whole rows")
    return size


class Int8Config(QuantizationConfig):
    """Weights of linear layers as 8-bit integers: symmetric, from -127 to 127, with a float16 scale for each group of a row.

    No data is needed. A group of 32 takes 8.5 bits a weight.
    """

    quant_method: Literal["int8"] = "int8"
    group_size: Annotated[int, AfterValidator(_group)] = 32
    """Consecutive weights of a row that share a scale; -1: the whole row. It must divide the `in_features` of each layer."""
