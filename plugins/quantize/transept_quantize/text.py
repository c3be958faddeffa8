"""Text from a file, and pieces of it in tokens."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from transept.errors import InputError

__all__ = ["pieces", "read_text"]


def read_text(file: Path) -> str:
    """A text file; of a `.jsonl` one the field `text` of each line, with an empty line between.

    Raises:
        InputError: it is no file, is empty, is not UTF-8, or a line has no `text`.
    """
    if not file.is_file():
        raise InputError(f"`{file}` is no file.")
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".jsonl":
            text = "\n\n".join(_text_of(line, number, file) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    except ValueError as error:
        raise InputError(f"`{file}` cannot be read as text: {error}.") from error
    if not text.strip():
        raise InputError(f"`{file}` holds no text.")
    return text


def _text_of(line: str, number: int, file: Path) -> str:
    row = json.loads(line)
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise InputError(f"Line {number} of `{file}` has no string `text`.")
    return str(row["text"])


def pieces(ids: list[int], count: int, length: int) -> list[Tensor]:
    """At most `count` pieces of `length` tokens, spread evenly over the text: each (1, length) int64. A shorter text is one piece."""
    if len(ids) < 2:
        raise InputError("The calibration text has fewer than two tokens: give more text.")
    whole = max(1, len(ids) // length)
    taken = min(count, whole)
    starts = [whole * number // taken * length for number in range(taken)]
    return [torch.tensor([ids[start : start + length]]) for start in starts]
