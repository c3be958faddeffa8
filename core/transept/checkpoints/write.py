"""Writing safetensors: streamed, sharded, and such that a kill at any moment leaves the old checkpoint or the new one.

All bytes go to temporary files first. Then shards take names that the standing index does not use, and one rename makes the new
checkpoint the one that readers see: of `model.safetensors`, which every reader looks for first, or of the index. What only the
old one used is removed last.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError, InputError, SaveError
from ..files import atomic_write_text, read_json
from ..files.atomic import sweep, sync, temporary_name
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
    limit = parse_size(max_shard_size)
    single, index = file_names(variant)
    stem = single.removesuffix(".safetensors")
    made: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        sweep(target, "*.safetensors*")
        shards = _plan([_describe(name, value) for name, value in tensors.items()], limit)
        sharded = len(shards) > 1
        old = _standing(target, index)
        names = _shard_names(stem, len(shards), old) if sharded else [single]
        temporary = [target / temporary_name(name) for name in names]
        made += temporary
        for path, shard in zip(temporary, shards, strict=True):
            _write(path, shard, tensors, {"format": "pt"} if metadata is None else metadata)
        if sharded:
            made += [target / name for name in names]
        for path, name in zip(temporary, names, strict=True):
            os.replace(path, target / name)
        if sharded:
            sync(target)
            atomic_write_text(target / index, _index(shards, names))
    except OSError as error:
        if isinstance(error, SaveError):
            raise
        raise SaveError(f"Weights could not be saved in `{target}`: {error}. What was there before still is.") from error
    finally:
        used = _standing(target, index)
        _remove(path for path in made if path.name not in used)
    stale = [target / name for name in (single if sharded else index, *sorted(old.difference(names)))]
    # what readers look at first goes first; then shards of earlier saves that nothing refers to
    _remove([*stale, *(path for path in target.glob(f"{escape(stem)}-[0-9]*-of-[0-9]*.safetensors") if path.name not in names)])
    return target / (index if sharded else single)


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


def _plan(entries: list[_Entry], limit: int) -> list[list[_Entry]]:
    """Fill shards in the order given; tensors of one module stay together where they fit."""
    groups: dict[str, list[_Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.name.rpartition(".")[0], []).append(entry)
    shards: list[list[_Entry]] = [[]]
    filled = 0
    for group in groups.values():
        for part in [group] if _size(group) <= limit else [[entry] for entry in group]:
            if shards[-1] and filled + _size(part) > limit:
                shards.append([])
                filled = 0
            shards[-1] += part
            filled += _size(part)
    for shard in shards:
        # widest first, so that each tensor is aligned to its own item size
        shard.sort(key=lambda entry: -DTYPES[entry.kind].itemsize)
    return shards


def _size(entries: list[_Entry]) -> int:
    return sum(entry.nbytes for entry in entries)


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
            value = tensors[entry.name]
            tensor = (value if isinstance(value, Tensor) else value()).detach()
            if tuple(tensor.shape) != entry.shape or _KINDS.get(tensor.dtype) != entry.kind:
                raise SaveError(f"`{entry.name}` changed its shape or dtype while it was saved.", name=entry.name)
            if entry.nbytes:
                tensor = tensor.cpu().resolve_conj().resolve_neg().contiguous()
                file.write(bytes_of(tensor))
            del tensor  # before the next one is made
        file.flush()
        os.fsync(file.fileno())


def _standing(folder: Path, index: str) -> set[str]:
    """Shards that the index in the folder uses; names of anything else in it do not count."""
    try:
        found = read_json(folder / index)
    except (CheckpointError, OSError):
        return set()
    weight_map = found.get("weight_map") if isinstance(found, dict) else None
    names = map(str, weight_map.values()) if isinstance(weight_map, dict) else ()
    return {name for name in names if name == Path(name).name and name.endswith(".safetensors")}


def _shard_names(stem: str, total: int, old: set[str]) -> list[str]:
    """The peer's names, or, where the standing index uses one of them, the same with a number after the stem."""
    for generation in count(1):
        start = stem if generation == 1 else f"{stem}-{generation}"
        names = [f"{start}-{number:05d}-of-{total:05d}.safetensors" for number in range(1, total + 1)]
        if old.isdisjoint(names):
            return names
    raise AssertionError  # one of the numbers is free


def _index(shards: list[list[_Entry]], names: list[str]) -> str:
    weight_map = {entry.name: name for name, shard in zip(names, shards, strict=True) for entry in shard}
    metadata = {"total_size": sum(map(_size, shards))}
    return json.dumps({"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}, indent=2) + "\n"


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
