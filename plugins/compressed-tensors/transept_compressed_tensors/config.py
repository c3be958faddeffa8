"""The settings of compressed-tensors, by the names that checkpoints and the peer have for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from transept.quantization import QuantizationConfig

__all__ = ["CompressedTensorsConfig"]


class CompressedTensorsConfig(QuantizationConfig):
    """What llm-compressor and others wrote with compressed-tensors. A checkpoint's `config.json` says it all."""

    loading_fields: ClassVar[frozenset[str]] = frozenset({"dequantize", "run_compressed", "use_optimized_inference"})

    quant_method: Literal["compressed-tensors"] = "compressed-tensors"
    config_groups: dict[str, Any] = Field(default_factory=dict)
    """Schemes by a name of no meaning: `targets`, `weights`, `input_activations`, `format`."""
    format: str = "dense"
    """Layout of the groups that name none."""
    quantization_status: str = "initialized"
    kv_cache_scheme: dict[str, Any] | None = None
    global_compression_ratio: float | None = None
    ignore: list[str] | None = Field(default_factory=list)
    """Names, or `re:` and a pattern, of modules that stay as they are."""
    run_compressed: bool | None = None
    """Older, and the opposite of `dequantize`."""
    dequantize: bool = False
    use_optimized_inference: bool = False

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        inner = config_dict.get("quantization_config", config_dict)
        return super().from_dict(
            {name: value for name, value in inner.items() if value is not None}, return_unused_kwargs, **kwargs
        )

    def with_loading(self, other: Self) -> Self:
        """These settings: others that are given for a load rarely repeat what is stored, so only what they say is compared."""
        said = {name: getattr(other, name) for name in other.model_fields_set}
        return super().with_loading(self.model_copy(update=said))

    def to_dict(self) -> dict[str, Any]:
        found = super().to_dict()
        return {name: value for name, value in found.items() if name not in self.loading_fields or value}
