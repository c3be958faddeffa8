"""Whether the packages and the GPU that they need are here."""

from __future__ import annotations

import importlib
from typing import Any

import torch

__all__ = ["flash_attention_2", "flash_attention_3"]


def flash_attention_2() -> str | None:
    """None, or one line saying why FlashAttention 2 cannot run here."""
    return _lacking("flash_attn", "`pip install flash-attn`", (8, 0), "Ampere (compute capability 8.0)")


def flash_attention_3() -> str | None:
    """None, or one line saying why FlashAttention 3 cannot run here."""
    return _lacking(
        "flash_attn_interface", "build `hopper/` of the flash-attention repository", (9, 0), "Hopper (compute capability 9.0)"
    )


def _lacking(package: str, install: str, least: tuple[int, int], name: str) -> str | None:
    if not torch.cuda.is_available():
        return "it takes a CUDA GPU, and torch sees none"
    found = torch.cuda.get_device_capability()
    if found < least:
        return f"it takes a GPU from {name} on, and this one has {found[0]}.{found[1]}"
    try:
        module: Any = importlib.import_module(package)
    except Exception as error:  # a package built for another torch fails in many ways
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            return f"the package `{package}` is not installed: {install}"
        return (
            f"the package `{package}` does not load: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )
    missing = [each for each in ("flash_attn_func", "flash_attn_varlen_func") if not hasattr(module, each)]
    return f"the package `{package}` has no `{missing[0]}`: install a newer one" if missing else None
