"""A module's tensors by name, and putting one in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["local_tensors", "own_storage", "set_tensor"]


def local_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, as a state dict names them; shared ones under each of their names."""
    found: dict[str, Tensor] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        dot = f"{path}." if path else ""
        held: dict[str, Tensor | None] = {**part._parameters}
        held.update((name, buffer) for name, buffer in part._buffers.items() if name not in part._non_persistent_buffers_set)
        found.update((dot + name, tensor) for name, tensor in held.items() if tensor is not None)
    return found


def set_tensor(module: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Put a tensor where a parameter or buffer of that name is, and return what was put.

    A `Parameter` is taken as it is. Anything else becomes one that requires grad as the one before did.
    """
    path, _, attribute = name.rpartition(".")
    owner = module.get_submodule(path)
    if attribute not in owner._parameters:
        owner._buffers[attribute] = tensor
        return tensor
    old = owner._parameters[attribute]
    if not isinstance(tensor, nn.Parameter):
        wants = old is not None and old.requires_grad and (tensor.is_floating_point() or tensor.is_complex())
        tensor = nn.Parameter(tensor.detach(), requires_grad=wants)
        tensor.__dict__.update(old.__dict__ if old is not None else {})
    owner._parameters[attribute] = tensor
    return tensor


def own_storage(tensor: Tensor) -> Tensor:
    """The tensor, contiguous and alone in its storage: a slice would keep the whole alive and be pickled with it."""
    alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if alone else tensor.clone(memory_format=torch.contiguous_format)
