"""How parameters start when no checkpoint brings them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

__all__ = ["initialize", "initialize_module"]


@torch.no_grad()
def initialize_module(module: nn.Module, *, std: float) -> None:
    """Initialise a module's own parameters: N(0, std) for linear layers and embeddings, zeros for biases, ones for norms."""
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
        module.weight.normal_(0.0, std)
        if module.bias is not None:
            module.bias.zero_()
    elif isinstance(module, nn.Embedding):
        module.weight.normal_(0.0, std)
        if module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()
    elif "Norm" in type(module).__name__:
        for name, parameter in module.named_parameters(recurse=False):
            parameter.fill_(0.0 if name == "bias" else 1.0)


def initialize(model: nn.Module, initialize_one: Callable[[nn.Module], None]) -> None:
    """Initialise every module that is not yet; a model inside a model is not drawn twice."""
    for module in model.modules():
        if not getattr(module, "_is_initialized", False):
            initialize_one(module)
            module._is_initialized = True  # type: ignore[assignment]
