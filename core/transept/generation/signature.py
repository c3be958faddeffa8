"""What a function takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["parameters_of", "takes_anything"]


def parameters_of(function: Callable[..., Any]) -> frozenset[str]:
    """Names of its arguments; not those of `*args` and `**kwargs`."""
    return frozenset(
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    )


def takes_anything(function: Callable[..., Any]) -> bool:
    """It has a `**kwargs`."""
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(function).parameters.values())
