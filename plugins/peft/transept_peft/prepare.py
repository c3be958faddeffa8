"""Making a model ready for peft: ordinary modules under their ordinary names."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from transept.errors import RewriteError
from transept.quantization import PackedLinear
from transept.rewrite import applied_to

__all__ = ["prepare", "understand_packed"]


def prepare(model: Any) -> None:
    """Undo the rewrites that hide modules from peft: those that join several, and those that only serve a product.

    Raises:
        RewriteError: one that joins modules cannot be undone.
    """
    for key in dict.fromkeys(applied.key for applied in reversed(list(applied_to(model)))):
        mine = [applied for applied in applied_to(model) if applied.key == key]
        if not mine or mine[0].rewrite.packs:
            continue
        joined = any(len(dict.fromkeys(name.rpartition(".")[0] for name in applied.sources)) > 1 for applied in mine)
        if not joined and not mine[0].rewrite.optional:
            continue
        if not mine[0].rewrite.undoable:
            raise RewriteError(
                f"`{key}` replaced the layers that an adapter is for (`{mine[0].path}`), and cannot be undone: load the model without it.",
                key=key,
                path=mine[0].path,
            )
        model.undo_rewrite(key)
        if joined:
            warnings.warn(f"The rewrite `{key}` was undone: an adapter needs the layers that it joined.", stacklevel=3)


def understand_packed(peft_config: Any) -> Any:
    """Tell a LoRA configuration what to put on layers whose weight stays packed; others are returned as they are."""
    from peft import LoraConfig

    if isinstance(peft_config, LoraConfig):
        peft_config._register_custom_module({PackedLinear: _packed_lora()})  # peft's own door for layers that it does not know
    return peft_config


def _packed_lora() -> type[nn.Module]:
    from .packed import PackedLoraLinear

    return PackedLoraLinear
