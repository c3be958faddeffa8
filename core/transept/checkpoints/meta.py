"""Building a model without storage: modules are made on `meta`, and nothing is drawn only to be thrown away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["on_meta"]

_INITIALISERS = frozenset([
    "normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_",
    "orthogonal_", "constant_", "zeros_", "ones_", "zero_", "fill_",
])  # fmt: skip


class _SkipInitialisers(TorchFunctionMode):
    """In-place initialisers return their tensor untouched; on `meta` they have nothing to do, and torch imports much to do it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _INITIALISERS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def on_meta() -> Iterator[None]:
    """Tensors that are made here have shapes and no storage."""
    with torch.device("meta"), _SkipInitialisers():
        yield
