"""Reads the table of variables in CTranslate2's `model.bin`, and believes nothing that the file says about itself.

The layout (all numbers little endian), as CTranslate2's `ModelSpec` writes it:

    u32 version of the layout | string: name of the specification | u32 its revision | u32 number of variables
    for each variable:  string: name | u8 rank | u32 … sizes | u8 type | u32 bytes | the values, row by row
    u32 number of aliases | for each: string: alias | string: name of the variable       (from version 3 on)

A string is a u16 length, which counts the zero byte at its end, and so many bytes. Before version 4 the size of a value stands
where the type does, and the number of values where the bytes do.

A file is data from a stranger: every count is held against the bytes that remain before anything is made of it.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import torch

from transept.errors import CheckpointError, CorruptFileError

__all__ = ["ModelFile", "Variable"]

VERSIONS = range(2, 7)
MAX_NAME_BYTES = 1024
MAX_DIMENSIONS = 8
TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
_TYPE_OF_SIZE = {4: torch.float32, 2: torch.int16, 1: torch.int8}
_U8, _U16, _U32 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<I")
# the fewest bytes that one entry can take: a name of one character, no sizes, a type, a count; two such names
_LEAST_VARIABLE, _LEAST_ALIAS = 2 + 2 + 1 + 1 + 4, 2 * (2 + 2)


@dataclass(frozen=True, slots=True)
class Variable:
    """One row of the table."""

    file: ModelFile
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int
    """First byte, from the start of the file."""
    nbytes: int

    def read(self) -> torch.Tensor:
        """The values: a view of the map where they are aligned for their type, else a copy."""
        raw = torch.frombuffer(self.file.data, dtype=torch.uint8, count=self.nbytes, offset=self.start)
        if raw.data_ptr() % self.dtype.itemsize:
            raw = raw.clone()
        return raw.view(self.dtype).view(self.shape)


class ModelFile:
    """An open `model.bin`.

    Attributes:
        specification, revision: what the model is in CTranslate2's terms: `WhisperSpec`.
        variables: by name, in the order of the file; aliases last, with the variable that they stand for.

    Raises:
        CorruptFileError: the file is cut off, or contradicts itself.
        CheckpointError: it is of a version that is not read, or no file of CTranslate2 at all.
    """

    def __init__(self, path: str | os.PathLike[str], *, map_file: bool = True) -> None:
        self.path = Path(path)
        self.data: mmap.mmap | bytearray
        with open(self.path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size < 2 * _U32.size:
                raise self.corrupt("it is shorter than a header", 0)
            # copy-on-write: tensors that view the map can be trained, and the file never changes
            self.data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY) if map_file else bytearray(stream.read())
        self.size, self._position = len(self.data), 0
        self.version = self._number(_U32)
        if self.version not in VERSIONS:
            raise CheckpointError(
                f"`{self.path}` is no model of CTranslate2 in a version that is read ({VERSIONS.start} to {VERSIONS.stop - 1}): it begins "
                f"with {self.version}. A `model.bin` of another kind must be converted to safetensors first.",
                file=str(self.path),
            )
        self.specification, self.revision = self._string("the specification's name"), self._number(_U32)
        self.variables: dict[str, Variable] = {}
        for _ in range(self._count("variables", _LEAST_VARIABLE)):
            self._add(self._variable())
        for _ in range(self._count("aliases", _LEAST_ALIAS) if self.version >= 3 else 0):
            self._add(self._alias())
        if self._position != self.size:
            raise self.corrupt(f"{self.size - self._position} bytes follow where it should end", self._position)

    def corrupt(self, what: str, position: int) -> CorruptFileError:
        """The error for damage at a byte of this file."""
        return CorruptFileError(
            f"`{self.path}` is not a sound file of CTranslate2: {what} (at byte {position}). Download or convert it again.",
            file=str(self.path),
            position=position,
        )

    def _add(self, variable: Variable) -> None:
        if variable.name in self.variables:
            raise self.corrupt(f"the variable `{variable.name}` stands there twice", self._position)
        self.variables[variable.name] = variable

    def _variable(self) -> Variable:
        name, at = self._string("a variable's name"), self._position
        rank = self._number(_U8)
        if rank > MAX_DIMENSIONS:
            raise self.corrupt(f"`{name}` has {rank} dimensions, at most {MAX_DIMENSIONS} are allowed", at)
        shape = struct.unpack_from(f"<{rank}I", self.data, self._need(4 * rank))
        kind, amount = self._number(_U8), self._number(_U32)
        if self.version >= 4:
            dtype = TYPES[kind] if kind < len(TYPES) else None
            nbytes = amount
        else:
            dtype, nbytes = _TYPE_OF_SIZE.get(kind), kind * amount
        if dtype is None:
            raise self.corrupt(f"`{name}` has the unknown type {kind}", at)
        if 0 in shape or nbytes != math.prod(shape) * dtype.itemsize:
            raise self.corrupt(f"`{name}` of shape {shape} in {dtype} cannot have {nbytes} bytes", at)
        return Variable(self, name, shape, dtype, self._need(nbytes), nbytes)

    def _alias(self) -> Variable:
        alias, at = self._string("an alias"), self._position
        name = self._string("an alias's variable")
        found = self.variables.get(name)
        if found is None:
            raise self.corrupt(f"`{alias}` stands for `{name}`, which is not there", at)
        return Variable(self, alias, found.shape, found.dtype, found.start, found.nbytes)

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def _need(self, count: int) -> int:
        """The position of the next `count` bytes, which are there; the reading position moves behind them."""
        position = self._position
        if count > self.size - position:
            raise self.corrupt(f"{count} bytes are announced where {self.size - position} are left", position)
        self._position = position + count
        return position

    def _number(self, kind: struct.Struct) -> int:
        (value,) = kind.unpack_from(self.data, self._need(kind.size))
        return int(value)

    def _count(self, what: str, least: int) -> int:
        count = self._number(_U32)
        if count > (self.size - self._position) // least:
            raise self.corrupt(f"{count} {what} are announced in {self.size - self._position} bytes", self._position)
        return count

    def _string(self, what: str) -> str:
        length = self._number(_U16)
        if not 1 < length <= MAX_NAME_BYTES:
            raise self.corrupt(f"{what} has {length} bytes, 2 to {MAX_NAME_BYTES} are allowed", self._position - 2)
        start = self._need(length)
        raw = self.data[start : start + length]
        try:
            text = raw[:-1].decode()
        except UnicodeDecodeError:
            raise self.corrupt(f"{what} is not UTF-8", start) from None
        if raw[-1] or "\0" in text:
            raise self.corrupt(f"{what} does not end with its zero byte", start)
        return text
