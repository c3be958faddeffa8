"""A checkpoint that is already in memory: a mapping of names to tensors, read like a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch

__all__ = ["MappingReader", "MemoryTensor"]


class MemoryTensor:
    """One tensor of the mapping."""

    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        self.name = name
        self.shape = tuple(tensor.shape)
        self.dtype: torch.dtype | None = tensor.dtype
        self.kind = str(tensor.dtype).removeprefix("torch.")
        self.nbytes = tensor.numel() * tensor.element_size()
        self._tensor = tensor

    def read(self) -> torch.Tensor:
        return self._tensor.detach()


class MappingReader:
    """A `CheckpointReader` over a state dict."""

    format = "state_dict"

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.metadata: dict[str, str] = {}
        self.files: tuple[str, ...] = ()
        self.tensors = {name: MemoryTensor(name, tensor) for name, tensor in tensors.items()}

    def close(self) -> None:
        self.tensors = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
