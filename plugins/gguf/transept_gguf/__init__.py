"""GGUF checkpoints for transept: a bounded reader and a writer, packed execution, and config, names and tokenizer from the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .export import write_gguf
    from .quantization import GgufConfig

__all__ = ["GgufConfig", "write_gguf"]

_HOMES = {"GgufConfig": "quantization", "write_gguf": "export"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
