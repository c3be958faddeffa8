"""Timestamps in what was transcribed, over windows that each count from 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["offsets_of", "text_with_timestamps"]

POSITIONS = 1500
"""Of a window of 30 seconds."""

Decode = Callable[[list[int]], str]


def text_with_timestamps(ids: list[int], begin: int, precision: float, decode: Decode) -> str:
    """The text with its timestamps, `<|1.08|>`, in seconds from the start of the recording.

    Args:
        begin: the id of `<|0.00|>`.
        precision: seconds from timestamp to timestamp.
        decode: gives the text of ids without timestamps.

    A timestamp before the last one begins a new window. Where two stood at the end of the old one, the new one begins at the first of them.
    """
    parts: list[str] = []
    words: list[int] = []
    latest = before = earlier = 0.0
    for place, index in enumerate(ids):
        if index < begin:
            words.append(index)
            continue
        parts.append(decode(words) if words else "")
        words = []
        moment = (index - begin) * precision
        if moment < latest:
            alone = place >= 2 and not (ids[place - 1] >= begin and ids[place - 2] >= begin)
            if alone:
                before += precision * POSITIONS
            else:
                latest = earlier
                before += earlier
                parts = parts[:-2]
        earlier, latest = latest, moment
        parts.append(f"<|{moment + before:.2f}|>")
    return "".join(parts) + (decode(words) if words else "")


def offsets_of(ids: list[int], begin: int, precision: float, decode: Decode) -> list[dict[str, Any]]:
    """Each piece between two timestamps: `{"text": …, "timestamp": (start, end)}`, in seconds. Arguments are those above."""
    stamps = [place for place, index in enumerate(ids) if index >= begin]
    ends = [place + 1 for place in stamps if place + 1 in set(stamps)]
    if not ends and len(stamps) <= 1:
        return []
    if stamps[-1] + 1 not in ends:
        ends.append(stamps[-1] + 1)
    found, start = [], stamps[0]
    before = latest = 0
    for end in ends:
        piece = ids[start:end]
        if len(piece) > 1:
            first, last = piece[0] - begin, piece[-1] - begin
            if first < latest:  # a new window
                alone = start >= 2 and not (ids[start - 2] >= begin and ids[start - 1] >= begin)
                before += POSITIONS if alone else latest
            latest = last
            found.append(
                {"text": decode(piece), "timestamp": tuple(each * precision + before * precision for each in (first, last))}
            )
        start = end
    return found
