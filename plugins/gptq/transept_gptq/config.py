"""The settings of GPTQ, by the names that checkpoints and the peer have for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from transept.quantization import QuantizationConfig

__all__ = ["GPTQConfig"]


def _group(size: int) -> int:
    if size != -1 and size < 1:
        raise ValueError(f"{size}: give a number of columns, or -1 for whole rows")
    return size


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class GPTQConfig(QuantizationConfig):
    """GPTQ (Frantar et al., arXiv:2210.17323): weights of 2, 3, 4 or 8 bits in groups of columns.

    A checkpoint that is quantized needs none of these from anybody: they stand in its `config.json`. For a new one they are what
    `transept quantize --method gptq` takes.
    """

    loading_fields: ClassVar[frozenset[str]] = frozenset({"backend", "max_input_length", "meta"})

    quant_method: Literal["gptq"] = "gptq"
    bits: Literal[2, 3, 4, 8] = 4
    tokenizer: Any = None
    """With `dataset`, what others calibrate with; here that is `transept quantize`."""
    dataset: list[str] | str | None = None
    group_size: Annotated[int, AfterValidator(_group)] = 128
    """Columns that share a scale and a zero; -1: all of a row."""
    damp_percent: float = Field(default=0.1, gt=0, lt=1)
    """This part of the Hessian's mean diagonal is added to its diagonal."""
    desc_act: bool = False
    """Columns are quantized, and grouped, in the order of how much they are activated."""
    act_group_aware: bool = True
    """Without `desc_act`: groups stay as they are, and are quantized in that order, and their columns in it."""
    sym: bool = True
    """The zero is the middle of the integers."""
    true_sequential: bool = True
    format: Annotated[str, BeforeValidator(_lower)] = "gptq"
    """`gptq` stores each zero less one, `gptq_v2` the zero itself."""
    meta: dict[str, Any] | None = None
    backend: Annotated[str | None, BeforeValidator(_lower)] = None
    """Others' choice of kernel; here weights are unpacked by torch, on every device."""
    model_seqlen: int | None = None
    block_name_to_quantize: str | None = None
    module_name_preceding_first_block: list[str] | None = None
    batch_size: int = 1
    pad_token_id: int | None = None
    max_input_length: int | None = None
    cache_block_outputs: bool = True
    modules_in_block_to_quantize: list[list[str]] | None = None

    def __init__(self, bits: int = 4, **values: Any) -> None:
        if (older := values.pop("checkpoint_format", None)) is not None:
            values["format"] = older
        super().__init__(bits=bits, **values)

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        values = {**config_dict, **kwargs}
        if (older := values.pop("checkpoint_format", None)) is not None:
            values["format"] = older
        return super().from_dict(values, return_unused_kwargs)

    def to_dict(self) -> dict[str, Any]:
        tokenizer = self.tokenizer if isinstance(self.tokenizer, str) else None  # an object is none of config.json's business
        found = self.model_copy(update={"tokenizer": tokenizer}) if tokenizer is not self.tokenizer else self
        return {**super(GPTQConfig, found).to_dict(), "checkpoint_format": self.format}
