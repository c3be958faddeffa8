"""Reads a GGUF file's metadata and tensor table, and believes nothing that the file says about itself.

Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).

A file is data from a stranger. Every count is held against the bytes that remain before anything is made of it, sums and
products are Python integers, and whatever does not fit is a `CorruptFileError` that names the file and the byte.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transept.errors import CheckpointError, CorruptFileError, shorten

from .blocks import BLOCK_TYPES, BlockType, type_name

__all__ = ["GGUFFile", "Metadata", "TensorInfo"]

HEADER_BYTES = 24
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 20
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 1024
MAX_KEY_BYTES = 65535

STRING, ARRAY, BOOL = 8, 9, 7
_SCALAR_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", BOOL: "B", 10: "Q", 11: "q", 12: "d"}
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in _SCALAR_FORMATS.items()}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_ARRAY_HEAD = struct.Struct("<IQ")

# the fewest bytes that one entry can take: an empty key, a type and one byte; an empty name, no dims, a type, an offset
_LEAST_PAIR, _LEAST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8


class FileBytes:
    """A file's bytes, and the error for damage at one of them."""

    def __init__(self, path: str | os.PathLike[str], *, map_file: bool) -> None:
        self.path = Path(path)
        self.data: mmap.mmap | bytearray
        with open(self.path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size < HEADER_BYTES:
                raise self.corrupt(f"it is shorter than a header, which has {HEADER_BYTES} bytes", 0)
            # copy-on-write: tensors that view the map can be trained, and the file never changes
            self.data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY) if map_file else bytearray(stream.read())
        self.size = len(self.data)

    def corrupt(self, what: str, position: int) -> CorruptFileError:
        """The error for damage at a byte of this file."""
        return CorruptFileError(
            f"`{self.path}` is not a sound GGUF file: {what} (at byte {position}). Download or convert it again.",
            file=str(self.path),
            position=position,
        )

    def unsupported(self, what: str) -> CheckpointError:
        """The error for a sound file that cannot be used here."""
        return CheckpointError(f"`{self.path}` cannot be read: {what}", file=str(self.path))

    def string(self, start: int, end: int) -> str:
        """Decode bytes whose place was checked."""
        try:
            return self.data[start:end].decode()
        except UnicodeDecodeError:
            raise self.corrupt("a string is not UTF-8", start) from None

    def scalar(self, kind: int, start: int) -> int | float | bool:
        """Decode a number or bool whose place was checked."""
        (value,) = _SCALARS[kind].unpack_from(self.data, start)
        if kind != BOOL:
            return value
        if value > 1:
            raise self.corrupt(f"a bool is {value}", start)
        return bool(value)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One row of the tensor table."""

    source: FileBytes
    name: str
    shape: tuple[int, ...]
    """In torch's order: the last dimension is contiguous (the file lists it first)."""
    kind: BlockType
    start: int
    """First byte, from the start of the file."""
    nbytes: int

    def raw(self) -> torch.Tensor:
        """The bytes as they are in the file: a (nbytes,) uint8 view of the map, nothing copied."""
        return torch.frombuffer(self.source.data, dtype=torch.uint8, count=self.nbytes, offset=self.start)


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    item: int  # type of an array's items; -1 for a plain value
    count: int
    start: int
    end: int


class Metadata(Mapping[str, Any]):
    """The file's key-value pairs. Places were checked when the file was opened; a value is decoded when it is asked for.

    Integers, floats, bools and strings come as Python's own, arrays as lists of them.

    Raises:
        CorruptFileError: on access to a string that is not UTF-8 or a bool that is neither 0 nor 1.
    """

    def __init__(self, source: FileBytes, entries: dict[str, _Entry]) -> None:
        self._source = source
        self._entries = entries

    def __getitem__(self, key: str) -> Any:
        entry, source = self._entries[key], self._source
        if entry.kind == STRING:
            return source.string(entry.start + 8, entry.end)
        if entry.kind != ARRAY:
            return source.scalar(entry.kind, entry.start)
        if entry.item == STRING:
            return self._strings(entry.start, entry.count)
        values = struct.unpack(f"<{entry.count}{_SCALAR_FORMATS[entry.item]}", source.data[entry.start : entry.end])
        if entry.item != BOOL:
            return list(values)
        if any(value > 1 for value in values):
            raise source.corrupt("an array of bools holds something else", entry.start)
        return [bool(value) for value in values]

    def _strings(self, start: int, count: int) -> list[str]:
        data, unpack, found = self._source.data, _U64.unpack_from, []
        try:
            for _ in range(count):
                end = start + 8 + unpack(data, start)[0]
                found.append(data[start + 8 : end].decode())
                start = end
        except UnicodeDecodeError:
            raise self._source.corrupt("a string is not UTF-8", start + 8) from None
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def encoded(self, key: str) -> bytes:
        """A value as it is in the file, its type before it."""
        entry = self._entries[key]
        head = 16 if entry.kind == ARRAY else 4
        return bytes(self._source.data[entry.start - head : entry.end])

    def length(self, key: str) -> int | None:
        """Number of items of an array, without decoding it; None where the key is absent or not an array."""
        entry = self._entries.get(key)
        return entry.count if entry is not None and entry.kind == ARRAY else None


class GGUFFile:
    """A GGUF file: `metadata` and `tensors` (by name, in file order), over one private memory map
    (`map_file=False`: over the bytes, read up front).

    Raises:
        CorruptFileError: the file is truncated, damaged or not GGUF.
        CheckpointError: it is sound, but of a version, byte order or tensor type that is not read here.
    """

    def __init__(self, path: str | os.PathLike[str], *, map_file: bool = True) -> None:
        self._source = FileBytes(path, map_file=map_file)
        self._data, self._size, self._position = self._source.data, self._source.size, HEADER_BYTES
        self.path = self._source.path
        self.version, tensor_count, pair_count = self._read_header()
        self.metadata = Metadata(self._source, self._read_pairs(pair_count))
        self.alignment = self._read_alignment()
        self.tensors = self._read_tensors(tensor_count)

    def corrupt(self, what: str, position: int) -> CorruptFileError:
        """The error for damage at a byte of this file."""
        return self._source.corrupt(what, position)

    # -- header ------------------------------------------------------------------------------------------------------

    def _read_header(self) -> tuple[int, int, int]:
        magic, version, tensors, pairs = struct.unpack_from("<4sIQQ", self._data, 0)
        if magic != b"GGUF":
            raise self.corrupt(f"it starts with {magic!r} where `GGUF` belongs", 0)
        if version & 0xFFFF == 0 and version:
            raise self._source.unsupported("it is big endian. Convert it to little endian (gguf-convert-endian).")
        if version == 1:
            raise self._source.unsupported("it is GGUF version 1, which nothing writes any more. Convert the model again.")
        if version not in (2, 3):
            raise self.corrupt(f"its version is {version}; versions 2 and 3 are read", 4)
        if pairs > (self._size - HEADER_BYTES) // _LEAST_PAIR:
            raise self.corrupt(f"it announces {pairs} metadata keys in {self._size} bytes", 16)
        if tensors > (self._size - HEADER_BYTES) // _LEAST_TENSOR:
            raise self.corrupt(f"it announces {tensors} tensors in {self._size} bytes", 8)
        self._position = HEADER_BYTES
        return version, tensors, pairs

    def _read_alignment(self) -> int:
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise self.corrupt(f"`general.alignment` is {alignment!r}, not a power of two from 8 to {MAX_ALIGNMENT}", 24)
        return alignment

    # -- metadata ----------------------------------------------------------------------------------------------------

    def _read_pairs(self, count: int) -> dict[str, _Entry]:
        entries: dict[str, _Entry] = {}
        for _ in range(count):
            at = self._position
            key = self._read_name(MAX_KEY_BYTES, "a metadata key")
            if key in entries:
                raise self.corrupt(f"the metadata key `{key}` stands there twice", at)
            entries[key] = self._read_entry(key)
        return entries

    def _read_entry(self, key: str) -> _Entry:
        (kind,) = _U32.unpack_from(self._data, self._need(4))
        if kind == ARRAY:
            item, count = _ARRAY_HEAD.unpack_from(self._data, self._need(12))
            start = self._position
            if item in _SCALARS:
                self._need(count * _SCALARS[item].size)
            elif item == STRING:
                self._position = self._skip_strings(key, start, count)
            elif item == ARRAY:
                raise self.corrupt(f"`{key}` is an array of arrays", start - 12)
            else:
                raise self.corrupt(f"`{key}` is an array of the unknown type {item}", start - 12)
            return _Entry(kind, item, count, start, self._position)
        start = self._position
        if kind in _SCALARS:
            self._need(_SCALARS[kind].size)
        elif kind == STRING:
            self._position = self._skip_strings(key, start, 1)
        else:
            raise self.corrupt(f"`{key}` has the unknown type {kind}", start - 4)
        return _Entry(kind, -1, 1, start, self._position)

    def _skip_strings(self, key: str, position: int, count: int) -> int:
        """The byte after `count` strings, each of which fits in the file."""
        if count > (self._size - position) // 8:
            raise self.corrupt(f"`{key}` announces {count} strings in {self._size - position} bytes", position)
        data, size, unpack = self._data, self._size, _U64.unpack_from
        try:
            for _ in range(count):
                position += 8 + unpack(data, position)[0]
                if position > size:
                    raise self.corrupt(f"a string of `{key}` ends behind the end of the file", size)
        except struct.error:
            raise self.corrupt(f"`{key}` is cut off", position) from None
        return position

    # -- tensor table ------------------------------------------------------------------------------------------------

    def _read_tensors(self, count: int) -> dict[str, TensorInfo]:
        rows = [self._read_row() for _ in range(count)]
        data_start = -(-self._position // self.alignment) * self.alignment
        tensors: dict[str, TensorInfo] = {}
        for name, shape, kind, offset, at in rows:
            if name in tensors:
                raise self.corrupt(f"the tensor `{name}` stands there twice", at)
            if offset % self.alignment:
                raise self.corrupt(f"the offset {offset} of tensor `{name}` is not a multiple of {self.alignment}", at)
            elements = 1
            for size in shape:
                elements *= size
            nbytes = elements // kind.block_size * kind.type_size
            if data_start + offset + nbytes > self._size:
                raise self.corrupt(
                    f"tensor `{name}` ends at byte {data_start + offset + nbytes} of a file of {self._size}; it is truncated",
                    at,
                )
            tensors[name] = TensorInfo(self._source, name, shape, kind, data_start + offset, nbytes)
        self._refuse_overlaps(tensors)
        return tensors

    def _read_row(self) -> tuple[str, tuple[int, ...], BlockType, int, int]:
        at = self._position
        name = self._read_name(MAX_NAME_BYTES, "a tensor name")
        (dimensions,) = _U32.unpack_from(self._data, self._need(4))
        if dimensions > MAX_DIMENSIONS:
            raise self.corrupt(f"tensor `{name}` has {dimensions} dimensions, at most {MAX_DIMENSIONS} are allowed", at)
        shape = struct.unpack_from(f"<{dimensions}Q", self._data, self._need(8 * dimensions))[::-1]
        type_id, offset = struct.unpack_from("<IQ", self._data, self._need(12))
        kind = BLOCK_TYPES.get(type_id)
        if kind is None:
            known = type_name(type_id)
            if known is None:
                raise self.corrupt(f"tensor `{name}` has the unknown type {type_id}", at)
            raise self._source.unsupported(
                f"tensor `{name}` has the type {known}. Types that are read: "
                f"{shorten((k.name for k in BLOCK_TYPES.values()), len(BLOCK_TYPES))}."
            )
        if 0 in shape or (shape[-1] if shape else 1) % kind.block_size:
            raise self.corrupt(
                f"tensor `{name}` of shape {shape} cannot be {kind.name}, whose rows are multiples of {kind.block_size}", at
            )
        return name, shape, kind, offset, at

    def _refuse_overlaps(self, tensors: dict[str, TensorInfo]) -> None:
        end, before = 0, ""
        for info in sorted(tensors.values(), key=lambda info: info.start):
            if info.start < end:
                raise self.corrupt(f"the tensors `{before}` and `{info.name}` overlap", info.start)
            end, before = info.start + info.nbytes, info.name

    # -- bytes -------------------------------------------------------------------------------------------------------

    def _need(self, count: int) -> int:
        """The position of the next `count` bytes, which are there; the reading position moves behind them."""
        position = self._position
        if count > self._size - position:
            raise self.corrupt(f"{count} bytes are announced where {self._size - position} are left", position)
        self._position = position + count
        return position

    def _read_name(self, most: int, what: str) -> str:
        (length,) = _U64.unpack_from(self._data, self._need(8))
        if not 0 < length <= most:
            raise self.corrupt(f"{what} has {length} bytes, 1 to {most} are allowed", self._position - 8)
        start = self._need(length)
        return self._source.string(start, self._position)
