"""One door for every file name that a checkpoint brings along."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import UnsafePathError

__all__ = ["check_name", "safe_join"]


def check_name(name: str, where: str = "") -> str:
    """Refuse a file name that could point outside the folder it is used in; returns it otherwise.

    Raises:
        UnsafePathError: empty, absolute, with a drive, a backslash, a `..` or a NUL.
    """
    reason = ""
    if not isinstance(name, str) or not name.strip() or name in (".", "./"):
        reason = "it is empty"
    elif "\0" in name or "\\" in name:
        reason = "it has a NUL or a backslash in it"
    elif PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or PureWindowsPath(name).root:
        reason = "it is absolute"
    elif ".." in PurePosixPath(name).parts:
        reason = "it has `..` in it"
    if reason:
        raise UnsafePathError(
            f"File name {name!r}{f' in `{where}`' if where else ''} is refused: {reason}. A checkpoint may only name files in its "
            "own folder.",
            name=name,
        )
    return name


def safe_join(folder: str | os.PathLike[str], name: str) -> Path:
    """`folder / name`, for a name that comes out of a repository.

    The file need not exist. Where it does it is a regular file that really lies in the folder; a link is followed only within
    the folder, or from a snapshot of the hub's cache into the blobs of the same repository.

    Raises:
        UnsafePathError: the name or the link leads elsewhere, or to something that is not a regular file (a pipe, a folder).
    """
    root = Path(folder)
    path = root / check_name(name, str(folder))
    real_root, real = Path(os.path.realpath(root)), Path(os.path.realpath(path))
    if not real.is_relative_to(real_root) and not _is_blob_of(real_root, real):
        raise UnsafePathError(
            f"`{name}` in `{folder}` is a link to `{real}`, outside the folder: it is refused. Copy the file there if you trust it.",
            name=name,
        )
    if os.path.lexists(path):
        kind = os.stat(real).st_mode if real.exists() else 0
        if not stat.S_ISREG(kind):
            raise UnsafePathError(f"`{path}` is not a regular file, so it is not opened.", name=name)
    return path


def _is_blob_of(root: Path, real: Path) -> bool:
    """Whether the folder is (in) a hub snapshot, `<repo>/snapshots/<commit>/…`, and the file is `<repo>/blobs/<hash>`."""
    for commit in (root, *root.parents):
        if commit.parent.name == "snapshots":
            return real.parent == commit.parent.parent / "blobs"
    return False
