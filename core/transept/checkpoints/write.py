"""Writing safetensors: streamed, sharded, and such that a kill at any moment leaves the old checkpoint or the new one.

All bytes go to temporary files first. Then shards take names that the standing index does not use, and one rename makes the new
checkpoint the one that readers see: of `model.safetensors`, which every reader looks for first, or of the index. What only the
old one used is removed last.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError, InputError, SaveError
from ..files import atomic_write_text, read_json
from ..files.atomic import sync, temporary_name
from .safetensors_format import DTYPES, bytes_of, file_names

__all__ = ["parse_size", "save_tensors"]

Lazy = Tensor | Callable[[], Tensor]

_KINDS = {dtype: kind for kind, dtype in DTYPES.items()}
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "B": 1}
_ALIGNMENT = 64
"""Where the first tensor begins: mapped tensors then suit vector instructions."""


@dataclass(frozen=True)
class _Entry:
    name: str
    kind: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass
class _Shard:
    entries: list[_Entry] = field(default_factory=list)
    nbytes: int = 0


def save_tensors(
    folder: str | os.PathLike[str],
    tensors: Mapping[str, Lazy],
    *,
    max_shard_size: int | str = "5GB",
    metadata: Mapping[str, str] | None = None,
    variant: str | None = None,
) -> Path:
    """Write tensors as `model.safetensors`, or as shards with an index when they are more than `max_shard_size`.

    A value may be a function that makes the tensor. It is called twice, once for shape and dtype, and one result is in memory at
    a time. Views, and tensors that share memory, are written each in full.

    Args:
        max_shard_size: bytes, or a number with a unit ("5GB", "500MB", "1GiB").
        metadata: strings for each file's header; `{"format": "pt"}` unless given.
        variant: `fp16` for `model.fp16.safetensors`.

    Returns:
        The path of the file, or of the index.

    Raises:
        SaveError: the disk is full, the folder is not writable, a tensor has no data or a dtype the format lacks. The checkpoint
            that was there before still is.
    """
    target = Path(folder)
    header = {"format": "pt"} if metadata is None else dict(metadata)
    limit = parse_size(max_shard_size)
    single, index = file_names(variant)
    stem = single.removesuffix(".safetensors")
    made: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        shards = _plan([_describe(name, value) for name, value in tensors.items()], limit)
        old = _standing(target, index)
        names = [single] if len(shards) == 1 else _shard_names(stem, len(shards), old)
        temporary = [target / temporary_name(name) for name in names]
        for path, shard in zip(temporary, shards, strict=True):
            made.append(path)
            _write(path, shard.entries, tensors, header)
        if len(shards) > 1:
            made += [target / name for name in names]
        for path, name in zip(temporary, names, strict=True):
            os.replace(path, target / name)
        if len(shards) > 1:
            sync(target)
            atomic_write_text(target / index, _index(shards, names))
    except OSError as error:
        if isinstance(error, SaveError):
            raise
        raise SaveError(f"Weights could not be saved in `{target}`: {error}. What was there before still is.") from error
    finally:
        used = _standing(target, index)
        for path in made:
            if path.name not in used:
                with suppress(OSError):
                    path.unlink()
    _remove(target, [single if len(shards) > 1 else index, *old.difference(names), *_unused(target, stem, names)])
    return target / (single if len(shards) == 1 else index)


def parse_size(size: int | str) -> int:
    """Bytes from a number or a number with a unit: powers of ten for `GB`, of two for `GiB`."""
    text = str(size).strip().upper()
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    try:
        found = int(float(text.removesuffix(unit)) * _UNITS.get(unit, 1))
    except (ValueError, OverflowError):
        found = 0
    if found <= 0:
        raise InputError(f'`max_shard_size={size!r}` is no size: give bytes, or a number with a unit such as "5GB".')
    return found


def _describe(name: str, value: Lazy) -> _Entry:
    tensor = value if isinstance(value, Tensor) else value()
    kind = _KINDS.get(tensor.dtype)
    if name == "__metadata__":
        raise SaveError("A tensor cannot be called `__metadata__` in a safetensors file: rename it.", name=name)
    if tensor.is_meta or tensor.layout != torch.strided or kind is None:
        what = "has no data (it is on `meta`)" if tensor.is_meta else f"is {tensor.dtype}, {tensor.layout}"
        raise SaveError(f"`{name}` {what}, which safetensors files cannot hold. Nothing was written.", name=name)
    return _Entry(name, kind, tuple(tensor.shape), tensor.numel() * tensor.element_size())


def _plan(entries: list[_Entry], limit: int) -> list[_Shard]:
    """Fill shards in the order given; tensors of one module stay together where they fit."""
    shards = [_Shard()]
    groups: dict[str, list[_Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.name.rpartition(".")[0], []).append(entry)
    for group in groups.values():
        together = sum(entry.nbytes for entry in group)
        parts = [group] if together <= limit else [[entry] for entry in group]
        for part in parts:
            size = sum(entry.nbytes for entry in part)
            if shards[-1].entries and shards[-1].nbytes + size > limit:
                shards.append(_Shard())
            shards[-1].entries += part
            shards[-1].nbytes += size
    for shard in shards:
        # widest first, so that each tensor is aligned to its own item size
        shard.entries.sort(key=lambda entry: -DTYPES[entry.kind].itemsize)
    return shards


def _write(path: Path, entries: list[_Entry], tensors: Mapping[str, Lazy], metadata: Mapping[str, str]) -> None:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for entry in entries:
        offsets = [position, position + entry.nbytes]
        header[entry.name] = {"dtype": entry.kind, "shape": list(entry.shape), "data_offsets": offsets}
        position += entry.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for entry in entries:
            _write_tensor(file, entry, tensors[entry.name])
        file.flush()
        os.fsync(file.fileno())


def _write_tensor(file: BinaryIO, entry: _Entry, value: Lazy) -> None:
    tensor = (value if isinstance(value, Tensor) else value()).detach()
    if tuple(tensor.shape) != entry.shape or _KINDS.get(tensor.dtype) != entry.kind:
        raise SaveError(f"`{entry.name}` changed its shape or dtype while it was saved.", name=entry.name)
    if entry.nbytes:
        tensor = tensor.cpu().resolve_conj().resolve_neg().contiguous()
        file.write(bytes_of(tensor))


def _standing(folder: Path, index: str) -> set[str]:
    """Shards that the index in the folder uses."""
    if not (folder / index).is_file():
        return set()
    try:
        found = read_json(folder / index)
    except CheckpointError:
        return set()
    weight_map = found.get("weight_map") if isinstance(found, dict) else None
    return {str(name) for name in weight_map.values()} if isinstance(weight_map, dict) else set()


def _shard_names(stem: str, count: int, old: set[str]) -> list[str]:
    """The peer's names, or, where the standing index uses one of them, the same with a number after the stem."""
    generation = 1
    while True:
        start = stem if generation == 1 else f"{stem}-{generation}"
        names = [f"{start}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
        if old.isdisjoint(names):
            return names
        generation += 1


def _index(shards: list[_Shard], names: list[str]) -> str:
    weight_map = {entry.name: name for shard, name in zip(shards, names, strict=True) for entry in shard.entries}
    metadata = {"total_size": sum(shard.nbytes for shard in shards)}
    return json.dumps({"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}, indent=2) + "\n"


def _unused(folder: Path, stem: str, names: list[str]) -> list[str]:
    """Shards of earlier saves in the folder that nothing refers to."""
    return [
        path.name
        for path in folder.glob("*-of-*.safetensors")
        if path.name.startswith(f"{stem}-") and path.name not in names and path.name[-17:-12].isdigit()
    ]


def _remove(folder: Path, names: list[str]) -> None:
    """Remove what only the old checkpoint used, in this order: what readers look at first comes first."""
    for name in names:
        if name == Path(name).name:
            with suppress(OSError):
                (folder / name).unlink()


def _sweep(folder: Path) -> None:
    """Remove what a killed process left: temporary weight files that nobody wrote to for an hour."""
    for path in folder.glob(".*.safetensors*.tmp"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()
