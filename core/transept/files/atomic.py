"""Files that are replaced whole or not at all: a temporary file beside them, fsync, rename."""

from __future__ import annotations

import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import SaveError

__all__ = ["atomic_file", "atomic_write_bytes", "atomic_write_text", "sweep", "sync", "temporary_name"]

_ABANDONED = 3600.0
"""Seconds without a change after which a temporary file is nobody's."""


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to; when the block ends without an error, the file there becomes `path`.

    Whoever reads `path` meanwhile sees what was there before, whole. After an error the temporary file is gone.

    Raises:
        SaveError: the disk is full, the folder is missing or read-only, …; the cause is kept.
    """
    target = Path(path)
    temporary = target.with_name(temporary_name(target.name))
    sweep(target.parent, glob.escape(target.name))
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
        with suppress(OSError):  # the file stands; a folder that cannot be synced does not undo that
            sync(target.parent)
    except OSError as error:
        if isinstance(error, SaveError):
            raise
        raise SaveError(
            f"`{target}` could not be written: {error}. What was there before still is.", path=str(target)
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def sweep(folder: Path, pattern: str) -> None:
    """Remove what killed processes left of files of these names (a glob); one that is being written has changed lately."""
    with suppress(OSError):
        for left in folder.glob(f".{pattern}.{'[0-9a-f]' * 8}.tmp"):
            with suppress(OSError):
                if left.stat().st_mtime < time.time() - _ABANDONED:
                    left.unlink()


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace a file's content; raises as `atomic_file`."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file's content with UTF-8 text, line ends as they are; raises as `atomic_file`."""
    atomic_write_bytes(path, text.encode("utf-8"))


def temporary_name(name: str) -> str:
    """A hidden name beside `name` that no other process takes; it starts with `.` and ends with `.tmp`."""
    return f".{name}.{secrets.token_hex(4)}.tmp"


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk. Folders are left out where the system cannot (Windows)."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
