"""Writes GGUF files, version 3, little endian: metadata, the table of tensors, and their bytes one tensor at a time.

Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transept.checkpoints.safetensors_format import bytes_of
from transept.errors import SaveError

from .blocks import BlockType
from .reader import ARRAY, BOOL, DEFAULT_ALIGNMENT, MAX_NAME_BYTES, STRING

__all__ = ["TensorEntry", "boolean", "float32", "floats", "integers", "string", "strings", "uint32", "write_file"]

VERSION = 3
_U32, _I32, _F32 = 4, 5, 6


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor to write."""

    name: str
    shape: tuple[int, ...]
    """In weights, in torch's order."""
    kind: BlockType
    make: Callable[[], Tensor]
    """Its bytes as they will stand in the file, or values of the type that `kind` names; called when they are written."""

    @property
    def nbytes(self) -> int:
        rows = 1
        for size in self.shape[:-1]:
            rows *= size
        return rows * self.kind.row_bytes(self.shape[-1] if self.shape else 1)


# -- values, as type and bytes -----------------------------------------------------------------------------------------


def uint32(value: int) -> bytes:
    """A value of the metadata, with its type before it; so the others."""
    return _number(_U32, "<I", value)


def float32(value: float) -> bytes:
    return _number(_F32, "<f", value)


def boolean(value: bool) -> bytes:
    return struct.pack("<IB", BOOL, value)


def string(value: str) -> bytes:
    return struct.pack("<I", STRING) + _text(value)


def strings(values: Sequence[str]) -> bytes:
    return struct.pack("<IIQ", ARRAY, STRING, len(values)) + b"".join(map(_text, values))


def integers(values: Sequence[int]) -> bytes:
    return struct.pack(f"<IIQ{len(values)}i", ARRAY, _I32, len(values), *values)


def floats(values: Sequence[float]) -> bytes:
    return struct.pack(f"<IIQ{len(values)}f", ARRAY, _F32, len(values), *values)


def _number(kind: int, layout: str, value: Any) -> bytes:
    try:
        return struct.pack("<I", kind) + struct.pack(layout, value)
    except (struct.error, OverflowError) as error:
        raise SaveError(f"GGUF cannot hold the number {value!r}: {error}.") from None


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


# -- the file ----------------------------------------------------------------------------------------------------------


def write_file(
    path: str | os.PathLike[str],
    pairs: Mapping[str, bytes],
    tensors: Sequence[TensorEntry],
    alignment: int = DEFAULT_ALIGNMENT,
) -> None:
    """Write a file.

    Args:
        path: a new file; the caller sees to it that readers only find a whole one.
        pairs: metadata, each value with its type before it.
        tensors: in the order of the file.
        alignment: what `general.alignment` says, or 32.

    Raises:
        SaveError: a tensor is not what its entry says, or has a name that is too long. OSError: the disk is full, ….
    """
    header = bytearray(struct.pack("<4sIQQ", b"GGUF", VERSION, len(tensors), len(pairs)))
    for key, value in pairs.items():
        header += _text(key) + value
    position = 0
    for entry in tensors:
        name = entry.name.encode()
        if not 0 < len(name) <= MAX_NAME_BYTES:
            raise SaveError(f"`{entry.name}` is no name that a tensor can have in a GGUF file.", name=entry.name)
        header += struct.pack("<Q", len(name)) + name
        header += struct.pack(f"<I{len(entry.shape)}QIQ", len(entry.shape), *entry.shape[::-1], entry.kind.type_id, position)
        position += -(-entry.nbytes // alignment) * alignment
    with Path(path).open("wb") as file:
        file.write(header)
        file.write(bytes(-len(header) % alignment))
        for entry in tensors:
            tensor = _tensor_of(entry)
            file.write(bytes_of(tensor))
            file.write(bytes(-entry.nbytes % alignment))
            del tensor  # before the next one is made
        file.flush()
        os.fsync(file.fileno())


def _tensor_of(entry: TensorEntry) -> Tensor:
    tensor = entry.make().detach().cpu().contiguous()
    if tensor.nbytes != entry.nbytes or tensor.dtype not in (torch.uint8, entry.kind.dtype):
        raise SaveError(
            f"`{entry.name}` is {tensor.dtype} with {tensor.nbytes} bytes, where {entry.kind.name} has {entry.nbytes}.",
            name=entry.name,
        )
    return tensor
