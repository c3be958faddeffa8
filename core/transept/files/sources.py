"""The core's own sources, as its plugin module names them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import CheckpointNotFoundError
from .hub import HubLocation, is_repository_id
from .locations import DirectoryLocation, Location
from .paths import safe_join

__all__ = ["open_directory", "open_hub"]


def open_directory(name: str, *, subfolder: str = "", **_: Any) -> Location | None:
    """A folder or a single file on this machine; None when nothing is at that path. Options of remote sources have no effect.

    Raises:
        CheckpointNotFoundError: the folder is there and the subfolder is not.
    """
    path = Path(os.path.expanduser(name))
    if not name or not path.exists():
        return None
    if not path.is_dir() and not path.is_file():
        raise CheckpointNotFoundError(f"`{name}` is neither a folder nor a regular file", name=name)
    if subfolder:
        if not (path / subfolder).is_dir():
            raise CheckpointNotFoundError(f"`{path}` has no subfolder `{subfolder}`", name=name)
        safe_join(path, f"{subfolder}/config.json")
        path = path / subfolder
    return DirectoryLocation(path, name=name)


def open_hub(name: str, **options: Any) -> Location | None:
    """A model repository on the Hugging Face hub, or in its cache; None when the name can't be one.

    Raises:
        CheckpointNotFoundError: it is not on the hub, or the hub can't be reached and the cache has nothing of it.
    """
    return HubLocation(name, **options) if is_repository_id(name) else None
