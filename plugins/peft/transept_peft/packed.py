"""LoRA on a linear layer whose weight stays packed."""

from __future__ import annotations

from peft.tuners.lora import Linear

from transept.errors import QuantizationError

__all__ = ["PackedLoraLinear"]


class PackedLoraLinear(Linear):
    """peft's LoRA layer, which asks its base layer for products alone; the packed weight has nowhere to merge into."""

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise QuantizationError(
            "An adapter cannot be merged into packed weights: its rank would be lost to rounding. `dequantize()` a model without the "
            "adapter first, load the adapter on that, and merge."
        )
