"""Adapters of the peft library on transept's models: LoRA, DoRA, IA3, prompt and prefix tuning."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

__all__ = ["get_peft_model"]


def get_peft_model(model: Any, peft_config: Any, adapter_name: str = "default", **options: Any) -> Any:
    """`peft.get_peft_model`, for a model whose fusing rewrites have to go first, or whose layers are packed.

    Raises: RewriteError: a rewrite hides the layers that adapters are for, and cannot be undone.
    """
    import peft

    from .prepare import prepare, understand_packed

    prepare(model)
    return peft.get_peft_model(model, understand_packed(peft_config), adapter_name, **options)
