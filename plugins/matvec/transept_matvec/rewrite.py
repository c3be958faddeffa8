"""The rewrite that puts `MatvecLinear` in the place of `torch.nn.Linear`, and when it does so unasked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.rewrite import Rewrite

from .linear import MatvecLinear

__all__ = ["Matvec", "matvec", "why_not"]


class Matvec(Rewrite):
    """Every plain `torch.nn.Linear` becomes a `MatvecLinear` with the same parameters; subclasses are left alone."""

    key = "matvec"
    why = "a product with one row uses all cores"
    order = 900
    undoable = True
    optional = True
    ties = "keep"

    def select(self, path: str, module: nn.Module) -> bool:
        return type(module) is nn.Linear

    def build(self, module: nn.Module, path: str) -> nn.Module:
        assert isinstance(module, nn.Linear)
        return MatvecLinear(module)

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return tensors

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return tensors


def matvec(config: Any) -> Matvec:
    """The rewrite for a model of this configuration; it takes no options."""
    return Matvec()


def why_not(model: Any, device: torch.device | None) -> str | None:
    """None where the rewrite pays: a model that decodes one token at a time, on a CPU with more than one thread."""
    if device is None or device.type != "cpu":
        return "the model is not on one CPU"
    if torch.get_num_threads() < 2:
        return "torch has one thread"
    if not model.can_generate():
        return "the model does not generate, so single rows are rare"
    return None
