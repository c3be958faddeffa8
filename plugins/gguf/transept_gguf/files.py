"""Which GGUF files at a location make up one model, and opening them as one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from transept.errors import CheckpointError, CheckpointNotFoundError, CorruptFileError, shorten
from transept.files import Location

from .reader import GGUFFile, Metadata, TensorInfo

__all__ = ["GGUFModel", "gguf_names"]


class GGUFModel:
    """A model in one GGUF file, or in all parts of a split one: the first part's `metadata`, and every `tensor`.

    Raises:
        CorruptFileError: a file is damaged, or the parts do not add up to what the first one announces.
        CheckpointError: see `GGUFFile` and `gguf_names`.
    """

    def __init__(self, location: Location, *, map_file: bool = True) -> None:
        self._take([GGUFFile(_fetch(location, name), map_file=map_file) for name in gguf_names(location)])

    @classmethod
    def of(cls, paths: Iterable[str | os.PathLike[str]]) -> Self:
        """The model in these files, in the order of their parts."""
        made = cls.__new__(cls)
        made._take([GGUFFile(path) for path in paths])
        return made

    def _take(self, files: list[GGUFFile]) -> None:
        self.path: Path = files[0].path
        self.paths: tuple[Path, ...] = tuple(file.path for file in files)
        self.metadata: Metadata = files[0].metadata
        self.tensors: dict[str, TensorInfo] = {}
        for file in files:
            twice = self.tensors.keys() & file.tensors.keys()
            if twice:
                raise CorruptFileError(f"`{file.path}` holds tensors that another part holds too: {shorten(sorted(twice))}.")
            self.tensors |= file.tensors
        announced = self.metadata.get("split.tensors.count")
        if announced is not None and announced != len(self.tensors):
            raise CorruptFileError(
                f"`{self.path}` announces {announced} tensors, {len(self.tensors)} are found. Open it together with its other "
                f"parts, under the names that they were made with (`…-00001-of-0000N.gguf`).",
                file=str(self.path),
            )


def _fetch(location: Location, name: str) -> Path:
    path = location.fetch(name)
    if path is None:
        raise CheckpointNotFoundError(f"`{location.name}` has no file `{name}` any more.")
    return path


def gguf_names(location: Location) -> list[str]:
    """Names of the model's files at the location: one, or all parts `…-00001-of-0000N.gguf` of a split one.

    Raises:
        CheckpointNotFoundError: there is none, or a part is absent.
        CheckpointError: there are several models.
    """
    names = [name for name in location.names() if name.endswith(".gguf")]
    if not names:
        raise CheckpointNotFoundError(f"`{location.name}` has no file that ends in .gguf.")
    models: dict[tuple[str, int], list[str]] = {}
    for name in sorted(names):
        stem, _, count = _split(name)
        models.setdefault((stem, count), []).append(name)
    if len(models) > 1:
        folder = location.folder()
        how = f"Name one file: `{folder / min(names)}`" if folder else "Download the one that you want, and name that file"
        raise CheckpointError(
            f"`{location.name}` holds several GGUF models: {shorten(sorted(names), 12)}. {how}.",
            names=tuple(sorted(names)),
        )
    ((_, count), parts), *_ = models.items()
    if count and [_split(name)[1] for name in parts] != list(range(1, count + 1)):
        raise CheckpointNotFoundError(
            f"`{location.name}` has {len(parts)} of {count} parts: {shorten(parts)}. Name their folder, with every part in it."
        )
    return parts


def _split(name: str) -> tuple[str, int, int]:
    """Stem, number and count of a split file's name; count 0 for a name that is not one."""
    start, of, count = name.removesuffix(".gguf").rpartition("-of-")
    stem, dash, number = start.rpartition("-")
    if of and dash and all(len(digits) == 5 and digits.isascii() and digits.isdigit() for digits in (number, count)):
        return stem, int(number), int(count)
    return name, 0, 0
