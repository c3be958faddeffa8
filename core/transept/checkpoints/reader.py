"""What every checkpoint format gives: tensors by name, each read when it is asked for. A state dict is one that is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self

import torch

__all__ = ["CheckpointReader", "MappingReader", "TensorRef"]


class TensorRef(Protocol):
    """One tensor of a checkpoint, not yet read."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """In elements, also where the file packs them."""

    @property
    def dtype(self) -> torch.dtype | None:
        """As `read` returns it; None when the file holds packed blocks and `read` decodes them."""

    @property
    def kind(self) -> str:
        """The storage type as the format calls it: `F32`, `BF16`, `Q4_K`."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the file."""

    def read(self) -> torch.Tensor:
        """The values, on the CPU; a private (copy-on-write) view of the mapped file where that is possible."""

    def release(self) -> None:
        """Give pages of the mapped file back, if there are any: the values were copied elsewhere."""


class CheckpointReader(Protocol):
    """An open checkpoint. A context manager; what `read` returned stays valid after `close`."""

    @property
    def format(self) -> str:
        """Key of the format's record."""

    @property
    def metadata(self) -> Mapping[str, str]: ...

    @property
    def tensors(self) -> Mapping[str, TensorRef]:
        """By name, in the order of the file."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that it reads."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class _MemoryTensor:
    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        self.name, self.shape, self.dtype, self.nbytes = name, tuple(tensor.shape), tensor.dtype, tensor.nbytes
        self.kind = str(tensor.dtype).removeprefix("torch.")
        self._tensor = tensor

    def read(self) -> torch.Tensor:
        return self._tensor.detach()

    def release(self) -> None:
        pass


class MappingReader:
    """A `CheckpointReader` over a state dict."""

    format = "state_dict"

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.metadata: dict[str, str] = {}
        self.files: tuple[str, ...] = ()
        self.tensors = {name: _MemoryTensor(name, tensor) for name, tensor in tensors.items()}

    def close(self) -> None:
        self.tensors = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
