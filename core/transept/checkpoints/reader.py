"""What every checkpoint format gives: tensors by name, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import torch

__all__ = ["CheckpointReader", "ReleasableTensor", "TensorRef"]


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


@runtime_checkable
class ReleasableTensor(Protocol):
    """A `TensorRef` whose pages of the mapped file can be given back once its values were copied elsewhere."""

    def release(self) -> None: ...


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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
