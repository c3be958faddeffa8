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
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from ..errors import CheckpointNotFoundError, CorruptFileError, shorten
from ..files import Location, parse_json, read_json

__all__ = ["DTYPES", "MAX_HEADER_BYTES", "SafetensorsFile", "SafetensorsReader", "open_safetensors"]

MAX_HEADER_BYTES = 100_000_000
"""The reference implementation's limit: above a million tensors in a file."""

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu, "BOOL": torch.bool,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
}  # fmt: skip
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
        """The values: a view of the map, or a copy where the file is not mapped or the bytes are not aligned."""
        if self.nbytes == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        if self.file.map is not None and self.start % self.dtype.itemsize == 0:
            count = self.nbytes // self.dtype.itemsize
            return torch.frombuffer(self.file.map, dtype=self.dtype, count=count, offset=self.start).view(self.shape)
        tensor = torch.empty(self.shape, dtype=self.dtype)
        self.file.stream.seek(self.start)
        if self.file.stream.readinto(bytes_of(tensor)) != self.nbytes:
            raise self.file.corrupt(f"it ends within `{self.name}`: it was cut while it was read")
        return tensor

    def release(self) -> None:
        """Give the mapped pages that lie wholly within the tensor back to the system; they hold what the file holds."""
        page = mmap.PAGESIZE
        first, last = -(-self.start // page) * page, (self.start + self.nbytes) // page * page
        if self.file.map is not None and last > first and hasattr(mmap, "MADV_DONTNEED"):
            self.file.map.madvise(mmap.MADV_DONTNEED, first, last - first)


class SafetensorsFile:
    """One open file: `metadata`, and `tensors` by name in the order of their bytes.

    Raises:
        CorruptFileError: truncated, damaged, or not safetensors.
    """

    def __init__(self, path: str | os.PathLike[str], *, map_file: bool = True) -> None:
        self.path = Path(path)
        self.stream = open(self.path, "rb")  # noqa: SIM115 (closed by `close`)
        try:
            self.metadata, self.tensors = self._read_header()
            self.map = mmap.mmap(self.stream.fileno(), 0, access=mmap.ACCESS_COPY) if map_file else None
        except BaseException:
            self.stream.close()
            raise

    def close(self) -> None:
        """Close the file. Tensors that view the map keep it alive."""
        self.stream.close()
        self.map = None

    def corrupt(self, reason: str) -> CorruptFileError:
        return CorruptFileError(
            f"`{self.path}` is not a sound safetensors file: {reason}. Download or save it again.", path=str(self.path)
        )

    def _read_header(self) -> tuple[dict[str, str], dict[str, SafetensorsTensor]]:
        size = os.fstat(self.stream.fileno()).st_size
        if size < 10:
            raise self.corrupt(f"it has {size} bytes")
        length = int.from_bytes(self.stream.read(8), "little")
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise self.corrupt(f"its header claims {length:,} bytes of {size - 8:,}; {MAX_HEADER_BYTES:,} are allowed")
        data = self.stream.read(length)
        if len(data) != length or data[:1] != b"{":
            raise self.corrupt("its header does not start with `{`")
        header = parse_json(data, f"{self.path} (header)")
        assert isinstance(header, dict)  # it starts with a brace
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise self.corrupt("its `__metadata__` is not a table of strings")
        found = [self._check_entry(name, entry, 8 + length) for name, entry in header.items()]
        found.sort(key=lambda ref: (ref.start, ref.nbytes))
        position = 8 + length
        for ref in found:
            if ref.start != position:
                relation = "overlaps the one before" if ref.start < position else "leaves a gap before it"
                raise self.corrupt(f"tensor `{ref.name}` {relation}")
            position += ref.nbytes
        if position != size:
            raise self.corrupt(f"its tensors end at byte {position:,}, the file at {size:,}")
        return metadata, {ref.name: ref for ref in found}

    def _check_entry(self, name: str, entry: Any, base: int) -> SafetensorsTensor:
        if not isinstance(entry, dict):
            raise self.corrupt(f"the entry of `{name}` is not an object")
        kind = entry.get("dtype")
        shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
        if not isinstance(kind, str) or kind not in DTYPES:
            raise self.corrupt(f"tensor `{name}` has the dtype {kind!r}, which this torch has not")
        if shape is None or offsets is None or len(offsets) != 2:
            raise self.corrupt(f"tensor `{name}` has no sound shape and offsets")
        begin, end = offsets
        count = math.prod(shape)
        if math.prod(max(size, 1) for size in shape) >= 1 << 62 or end - begin != count * DTYPES[kind].itemsize:
            raise self.corrupt(f"tensor `{name}` of shape {list(shape)} and dtype {kind} does not take {end - begin:,} bytes")
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

    def __exit__(self, *_: object) -> None:
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
    named = getattr(location, "file", None) or single
    if not named.endswith(".index.json") and (path := location.fetch(named)):
        file = SafetensorsFile(path, map_file=mmap)
        return SafetensorsReader([file], file.tensors)
    if path := location.fetch(named if named.endswith(".index.json") else index):
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
    with ExitStack() as opened:
        for shard in sorted(set(weight_map.values())):
            path = location.fetch(shard)
            if path is None:
                raise CorruptFileError(f"`{index_path}` names `{shard}`, which is not there.", path=str(index_path))
            files.append(file := SafetensorsFile(path, map_file=map_file))
            opened.callback(file.close)
            for name, ref in file.tensors.items():
                if weight_map.get(name, shard) != shard or name in tensors:
                    claim = f"places `{name}` in `{weight_map.get(name)}`, and `{shard}` has one too"
                    raise CorruptFileError(f"`{index_path}` {claim}.", path=str(index_path))
                tensors[name] = ref
        absent = [name for name in weight_map if name not in tensors]
        if absent:
            raise CorruptFileError(f"`{index_path}` names tensors that no shard has: {shorten(absent)}.", path=str(index_path))
        opened.pop_all()
    return SafetensorsReader(files, tensors)
