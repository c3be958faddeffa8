"""JSON that comes with a checkpoint: bounded, without duplicate keys, and with errors that name the file."""

from __future__ import annotations

import json
import os
from collections import Counter

from ..errors import CorruptFileError

__all__ = ["MAX_JSON_BYTES", "parse_json", "read_json"]

MAX_JSON_BYTES = 256 * 1024 * 1024
"""Larger than any tokenizer.json or weight index in use."""


def read_json(path: str | os.PathLike[str], *, max_bytes: int = MAX_JSON_BYTES) -> object:
    """The value in a JSON file.

    Raises:
        CorruptFileError: too large, not UTF-8, not JSON, nested too deeply, or an object with the same key twice.
        FileNotFoundError: there is no such file.
    """
    with open(path, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise CorruptFileError(f"`{os.fspath(path)}` is larger than {max_bytes:,} bytes, so it is not read as JSON.", path=path)
    return parse_json(data, os.fspath(path))


def parse_json(data: bytes, where: str) -> object:
    """The value that UTF-8 JSON bytes stand for; `where` names them in errors.

    Raises:
        CorruptFileError: not UTF-8, not JSON, nested too deeply, or an object with the same key twice.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except (ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise CorruptFileError(f"`{where}` is not valid JSON: {reason}. Download or write it again.", path=where)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return found
