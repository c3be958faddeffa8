"""Checkpoint folders: `checkpoint-STEP` in the output folder, each whole or not there.

A checkpoint is written under a hidden name, with a list of its files, their sizes and sums in `checkpoint.json`, brought to the
disk, and renamed. What a killed process leaves is a hidden folder that nobody reads and the next save removes.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transept.errors import CheckpointError, CheckpointNotFoundError, CorruptFileError, SaveError
from transept.files import read_json
from transept.files.atomic import sync

from .notices import notice

__all__ = [
    "MANIFEST",
    "checkpoints_in",
    "get_last_checkpoint",
    "resumable",
    "rotate",
    "step_of",
    "why_not_whole",
    "written_whole",
]

MANIFEST = "checkpoint.json"
TRAINING = "training.json"
FORMAT = 1
_NAME = re.compile(r"checkpoint-(\d+)")


def step_of(folder: str | os.PathLike[str]) -> int | None:
    """The step in a checkpoint's name; None for any other name."""
    found = _NAME.fullmatch(Path(folder).name)
    return int(found[1]) if found else None


def checkpoints_in(folder: str | os.PathLike[str]) -> list[Path]:
    """Checkpoint folders by step, the oldest first."""
    root = Path(folder)
    if not root.is_dir():
        return []
    found = [(step_of(path), path) for path in root.iterdir() if path.is_dir()]
    return [path for step, path in sorted((step, path) for step, path in found if step is not None)]


def get_last_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """The newest checkpoint of a run that can be resumed from; None where there is none."""
    for path in reversed(checkpoints_in(folder)):
        if why_not_whole(path) is None:
            return str(path)
    return None


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A folder to write to; when the block ends without an error, it becomes `target`, with a manifest.

    Raises: SaveError when the disk is full or the like. What was there before, this checkpoint of an earlier run included, still is.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        temporary.mkdir()
        yield temporary
        _seal(temporary)
        _replace(temporary, target)
    except OSError as error:
        cause = str(error) if isinstance(error, SaveError) else f"{error.strerror or error}"
        raise SaveError(
            f"`{target}` could not be saved: {cause}. Earlier checkpoints are as they were: make room, and resume from the newest.",
            path=str(target),
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _seal(folder: Path) -> None:
    files = {str(path.relative_to(folder)): _size_and_sum(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1) + "\n", encoding="utf-8")
    for name in (*files, MANIFEST):
        sync(folder / name)
    sync(folder)


def _replace(temporary: Path, target: Path) -> None:
    """Rename over what may be there: a folder with content is set aside first, and removed once the new one stands."""
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    if target.exists():
        os.rename(target, aside)
    try:
        os.rename(temporary, target)
    except OSError:
        if aside.exists():
            os.rename(aside, target)
        raise
    with suppress(OSError):
        sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Finish or remove what killed processes left: one run writes to an output folder at a time."""
    for left in folder.glob(f".checkpoint-*.{'[0-9a-f]' * 8}.*"):
        name = left.name[1:].rsplit(".", 2)[0]
        if left.suffix == ".old" and not (folder / name).exists():
            with suppress(OSError):
                os.rename(left, folder / name)
        elif left.suffix in (".old", ".tmp"):
            shutil.rmtree(left, ignore_errors=True)


def _size_and_sum(path: Path) -> list[int]:
    size = total = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            size += len(block)
            total = zlib.crc32(block, total)
    return [size, total]


def why_not_whole(folder: str | os.PathLike[str], *, to_resume: bool = True) -> str | None:
    """None for a whole checkpoint, else what is wrong with it: torn, or none of ours."""
    root = Path(folder)
    if not root.is_dir():
        return "there is no such folder"
    if not (root / MANIFEST).is_file():
        foreign = any((root / name).exists() for name in ("optimizer.pt", "scheduler.pt", "training_args.bin"))
        return "it is another program's (pickled optimizer, no `checkpoint.json`)" if foreign else "it has no `checkpoint.json`"
    try:
        manifest = read_json(root / MANIFEST)
    except (CorruptFileError, OSError) as error:
        return str(error)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not isinstance(manifest, dict):
        return "`checkpoint.json` is not what a trainer writes"
    if manifest.get("format") != FORMAT:
        return f"it has format {manifest.get('format')!r}, and this trainer reads {FORMAT}"
    for name, expected in files.items():
        path = root / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            return f"`checkpoint.json` names `{name}`, outside the folder"
        if not path.is_file():
            return f"`{name}` is missing"
        if (found := _size_and_sum(path)) != expected:
            size = expected[0] if isinstance(expected, list) and expected else "?"
            return f"`{name}` is damaged ({found[0]:,} of {size:,} bytes)" if found[0] != size else f"`{name}` is damaged"
    if to_resume and TRAINING not in files:
        return "it holds the model alone (`save_only_model`)"
    return None


def resumable(wanted: str | bool | os.PathLike[str], output_dir: str) -> Path:
    """The checkpoint to resume from: the one asked for, else the newest whole one beside it, which is said.

    Raises: CheckpointNotFoundError when there is none at all; CheckpointError when none of them is whole.
    """
    if isinstance(wanted, bool):
        candidates = list(reversed(checkpoints_in(output_dir)))
        place = output_dir
    else:
        folder = Path(wanted)
        if not folder.is_dir():
            raise CheckpointNotFoundError(
                f"There is no checkpoint `{wanted}`: give one of `{output_dir}`, or True for its newest."
            )
        others = [path for path in reversed(checkpoints_in(folder.parent)) if path.resolve() != folder.resolve()]
        candidates, place = [folder, *others], str(folder.parent)
    if not candidates:
        raise CheckpointNotFoundError(
            f"`{place}` has no checkpoints to resume from: train without `resume_from_checkpoint` first."
        )
    troubles: dict[str, str] = {}
    for folder in candidates:
        reason = why_not_whole(folder)
        if reason is None:
            for name, trouble in troubles.items():
                notice(f"`{name}` is passed over: {trouble}.")
            if troubles:
                notice(f"Resuming from `{folder}`, the newest whole checkpoint.")
            return folder
        troubles[str(folder)] = reason
    said = "; ".join(f"`{Path(name).name}`: {trouble}" for name, trouble in list(troubles.items())[:4])
    raise CheckpointError(f"No checkpoint in `{place}` can be resumed from. {said}.")


def rotate(output_dir: str, limit: int | None, keep: str | None) -> list[Any]:
    """Remove the oldest checkpoints beyond `limit`; `keep`, the best one, and the newest stay. Returns what was removed."""
    if limit is None:
        return []
    found = checkpoints_in(output_dir)
    kept = {Path(keep).resolve()} if keep else set()
    spare = [path for path in found[:-1] if path.resolve() not in kept]
    # with a best one elsewhere the newest still is needed to resume
    removed = spare[: max(0, len(found) - max(limit, len(kept | {path.resolve() for path in found[-1:]})))]
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)
    return removed
