"""Safetensors checkpoints: one file, or shards with an index.

The format (https://huggingface.co/docs/safetensors): eight bytes with the header's length, the header as JSON, then the
tensors without gaps. A header is checked whole against the file's size before anything is made of it; tensors are then private
(copy-on-write) views of the mapped file, each with a storage of exactly its own bytes.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from ..errors import CheckpointNotFoundError, CorruptFileError, shorten
from ..files import Location, parse_json, read_json

__all__ = ["DTYPES", "MAX_HEADER_BYTES", "SafetensorsFile", "SafetensorsReader", "open_safetensors"]

MAX_HEADER_BYTES = 100_000_000
"""The reference implementation's limit: above a million tensors in a file."""

_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
DTYPES: dict[str, torch.dtype] = {key: getattr(torch, name) for key, name in _NAMES.items() if hasattr(torch, name)}
"""The format's dtype names and torch's."""


@dataclass(frozen=True, slots=True)
class SafetensorsTensor:
    """One tensor of a file (a `TensorRef`)."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: str
    start: int
    """First byte, from the start of the file."""
    nbytes: int
    file: SafetensorsFile

    def read(self) -> torch.Tensor:
        return self.file.read(self)

    def release(self) -> None:
        self.file.release(self)


class SafetensorsFile:
    """One open file: `metadata`, and `tensors` by name in the order of their bytes.

    Raises:
        CorruptFileError: truncated, damaged, or not safetensors.
    """

    def __init__(self, path: str | os.PathLike[str], *, map_file: bool = True) -> None:
        self.path = Path(path)
        self._stream = open(self.path, "rb")  # noqa: SIM115 (closed by `close`)
        try:
            self.metadata, self.tensors = self._read_header()
            self._map = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_COPY) if map_file else None
        except BaseException:
            self._stream.close()
            raise

    def close(self) -> None:
        """Close the file. Tensors that view the map keep it alive."""
        self._stream.close()
        self._map = None

    def read(self, ref: SafetensorsTensor) -> torch.Tensor:
        """The tensor's values: a view of the map, or a copy where the file is not mapped or the bytes are not aligned."""
        if ref.nbytes == 0:
            return torch.empty(ref.shape, dtype=ref.dtype)
        if self._map is not None and ref.start % ref.dtype.itemsize == 0:
            flat = torch.frombuffer(self._map, dtype=ref.dtype, count=ref.nbytes // ref.dtype.itemsize, offset=ref.start)
            return flat.view(ref.shape)
        tensor = torch.empty(ref.shape, dtype=ref.dtype)
        self._stream.seek(ref.start)
        if self._stream.readinto(bytes_of(tensor)) != ref.nbytes:
            raise self._corrupt(f"it ends within `{ref.name}`: it was cut while it was read")
        return tensor

    def release(self, ref: SafetensorsTensor) -> None:
        """Give the mapped pages that lie wholly within the tensor back to the system; they hold what the file holds."""
        page = mmap.PAGESIZE
        first, last = -(-ref.start // page) * page, (ref.start + ref.nbytes) // page * page
        if self._map is not None and last > first and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def _corrupt(self, reason: str) -> CorruptFileError:
        return CorruptFileError(
            f"`{self.path}` is not a sound safetensors file: {reason}. Download or save it again.", path=str(self.path)
        )

    def _read_header(self) -> tuple[dict[str, str], dict[str, SafetensorsTensor]]:
        size = os.fstat(self._stream.fileno()).st_size
        if size < 10:
            raise self._corrupt(f"it has {size} bytes")
        length = int.from_bytes(self._stream.read(8), "little")
        if length > size - 8:
            raise self._corrupt(f"its header claims {length:,} bytes, {size - 8:,} are there")
        if length > MAX_HEADER_BYTES:
            raise self._corrupt(f"its header claims {length:,} bytes, {MAX_HEADER_BYTES:,} are allowed")
        data = self._stream.read(length)
        if len(data) != length or data[:1] != b"{":
            raise self._corrupt("its header does not start with `{`")
        header = parse_json(data, f"{self.path} (header)")
        assert isinstance(header, dict)  # it starts with a brace
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise self._corrupt("its `__metadata__` is not a table of strings")
        found = [self._check_entry(name, entry, 8 + length) for name, entry in header.items()]
        found.sort(key=lambda ref: (ref.start, ref.nbytes))
        position = 8 + length
        for ref in found:
            if ref.start != position:
                relation = "overlaps the one before" if ref.start < position else "leaves a gap before it"
                raise self._corrupt(f"tensor `{ref.name}` {relation}")
            position += ref.nbytes
        if position != size:
            raise self._corrupt(f"its tensors end at byte {position:,}, the file at {size:,}")
        return metadata, {ref.name: ref for ref in found}

    def _check_entry(self, name: str, entry: Any, base: int) -> SafetensorsTensor:
        if not isinstance(entry, dict):
            raise self._corrupt(f"the entry of `{name}` is not an object")
        kind = entry.get("dtype")
        shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
        if not isinstance(kind, str) or kind not in DTYPES:
            raise self._corrupt(f"tensor `{name}` has the dtype {kind!r}, which this torch has not")
        if shape is None or offsets is None or len(offsets) != 2:
            raise self._corrupt(f"tensor `{name}` has no sound shape and offsets")
        begin, end = offsets
        count = math.prod(shape)
        if math.prod(max(size, 1) for size in shape) >= 1 << 62 or end - begin != count * DTYPES[kind].itemsize:
            raise self._corrupt(f"tensor `{name}` of shape {list(shape)} and dtype {kind} does not take {end - begin:,} bytes")
        return SafetensorsTensor(name, shape, DTYPES[kind], kind, base + begin, end - begin, self)


def _sizes(value: Any) -> tuple[int, ...] | None:
    """The value as a tuple, when it is a list of sizes that torch can count with."""
    sound = isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 62 for item in value)
    return tuple(value) if sound else None


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, which must outlive the view. Works without numpy, for every dtype."""
    return memoryview((ctypes.c_char * (tensor.numel() * tensor.element_size())).from_address(tensor.data_ptr())).cast("B")


class SafetensorsReader:
    """A `CheckpointReader` over one or more files."""

    format = "safetensors"

    def __init__(self, files: list[SafetensorsFile], tensors: dict[str, SafetensorsTensor]) -> None:
        self._files = files
        self.tensors = tensors
        self.files = tuple(str(file.path) for file in files)
        self.metadata = {key: value for file in files for key, value in file.metadata.items()}

    def close(self) -> None:
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def file_names(variant: str | None = None) -> tuple[str, str]:
    """Names of the single weight file and of the index, as the peer spells them."""
    middle = f".{variant}" if variant else ""
    return f"model{middle}.safetensors", f"model.safetensors.index{middle}.json"


def open_safetensors(location: Location, *, mmap: bool = True, variant: str | None = None) -> SafetensorsReader:
    """Open the safetensors weights at a location: `model.safetensors`, else the shards of its index, else the file that was named.

    `variant="fp16"` asks for `model.fp16.safetensors` or its index. With `mmap=False` tensors are read into memory of their own.

    Raises:
        CheckpointNotFoundError: no such file there.
        CorruptFileError: a file is damaged, or index and shards contradict each other.
        UnsafePathError: the index names a file outside the location.
    """
    single, index = file_names(variant)
    named = getattr(location, "file", None)
    if named is not None and named.endswith(".index.json"):
        single, index = "", named
    elif named is not None:
        single = named
    path = location.fetch(single) if single else None
    if path is not None:
        file = SafetensorsFile(path, map_file=mmap)
        return SafetensorsReader([file], file.tensors)
    path = location.fetch(index)
    if path is not None:
        return _open_shards(location, path, mmap)
    there = [name for name in location.names() if name.endswith((".safetensors", ".index.json"))]
    raise CheckpointNotFoundError(
        f"`{location.name}` has neither `{single}` nor `{index}`; of this format it has {shorten(there) or 'nothing'}. Name one "
        "of the files, or give its `variant`.",
        name=location.name,
    )


def _open_shards(location: Location, index_path: Path, map_file: bool) -> SafetensorsReader:
    index = read_json(index_path)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CorruptFileError(f"`{index_path}` has no `weight_map` from tensor names to file names.", path=str(index_path))
    files: list[SafetensorsFile] = []
    tensors: dict[str, SafetensorsTensor] = {}
    try:
        for shard in sorted(set(weight_map.values())):
            path = location.fetch(shard)
            if path is None:
                raise CorruptFileError(f"`{index_path}` names `{shard}`, which is not there.", path=str(index_path))
            file = SafetensorsFile(path, map_file=map_file)
            files.append(file)
            for name, ref in file.tensors.items():
                if weight_map.get(name, shard) != shard or name in tensors:
                    raise CorruptFileError(
                        f"`{index_path}` places `{name}` in `{weight_map.get(name)}`, and `{shard}` has one too.",
                        path=str(index_path),
                    )
                tensors[name] = ref
        absent = [name for name in weight_map if name not in tensors]
        if absent:
            raise CorruptFileError(f"`{index_path}` names tensors that no shard has: {shorten(absent)}.", path=str(index_path))
    except BaseException:
        for file in files:
            file.close()
        raise
    return SafetensorsReader(files, tensors)
