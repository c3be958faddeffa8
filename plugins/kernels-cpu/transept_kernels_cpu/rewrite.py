"""The rewrite that gives packed layers their native product, and when it does so unasked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.errors import RewriteError
from transept.rewrite import Rewrite

from .library import missing
from .modules import native, serves

__all__ = ["KernelsCPU", "kernels_cpu", "why_not"]


class KernelsCPU(Rewrite):
    """Every packed layer of a packing that has a native product gets it; its tensors stay as they are."""

    key = "kernels_cpu"
    why = "native products with the packed weight"
    order = 900
    undoable = True
    optional = True
    ties = "keep"

    def select(self, path: str, module: nn.Module) -> bool:
        return serves(module)

    def build(self, module: nn.Module, path: str) -> nn.Module:
        built: nn.Module = native(module)
        return built

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return tensors

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return tensors


def kernels_cpu(config: Any) -> KernelsCPU:
    """The rewrite; it takes no options.

    Raises:
        RewriteError: the native library is not there.
    """
    why = missing()
    if why is not None:
        raise RewriteError(
            f"`kernels_cpu` cannot be applied: {why}. Reinstall `transept-kernels-cpu` where a C++ compiler is found, or install its wheel.",
            key="kernels_cpu",
        )
    return KernelsCPU()


def why_not(model: Any, device: torch.device | None) -> str | None:
    """None where packed layers may gain: on a CPU, with the native library. Layers that it cannot serve are left as they are."""
    if device is None or device.type != "cpu":
        return "the model is not on one CPU"
    return missing()
