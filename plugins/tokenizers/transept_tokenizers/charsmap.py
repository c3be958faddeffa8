"""SentencePiece's normalization rules, compiled into a double-array trie of UTF-8 bytes, as `spiece.model` carries them.

Applied as the `tokenizers` library does: grapheme by grapheme, the shortest rule that begins one counting for all of it.
"""

from __future__ import annotations

import functools
import struct
import unicodedata
from collections.abc import Iterator

from transept.errors import CorruptFileError

from .aligned_text import AlignedText

__all__ = ["Charsmap"]

_SHORT = 6
"""Graphemes of fewer bytes are looked up whole, others character by character."""


class Charsmap:
    """A compiled map from byte strings to their replacements.

    Layout: the trie's size in bytes (uint32), the trie (uint32 units), then zero-terminated replacements; little-endian. A
    unit holds a label (bits 0 to 7 and 31), whether a leaf hangs there (bit 8) and the offset of its children (bits 10 to 30,
    shifted left by 8 if bit 9 is set). A leaf's unit holds the replacement's place.

    Raises:
        CorruptFileError: sizes that contradict each other.
    """

    def __init__(self, compiled: bytes) -> None:
        size = struct.unpack_from("<I", compiled)[0] if len(compiled) >= 4 else 0
        if size == 0 or size % 4 or 4 + size > len(compiled):
            raise CorruptFileError(f"Normalization rules of {len(compiled)} bytes claim a trie of {size}: they are damaged.")
        self.compiled = compiled
        self._units = struct.unpack_from(f"<{size // 4}I", compiled, 4)
        self._replacements = compiled[4 + size :]
        self._replaced = functools.lru_cache(maxsize=1 << 16)(self._replacement)

    def __reduce__(self) -> tuple[type[Charsmap], tuple[bytes]]:
        return Charsmap, (self.compiled,)

    def normalized(self, text: AlignedText) -> AlignedText:
        """The text with every rule applied."""
        if text.text.isascii() and text.text.isprintable() and not self._changes_ascii:
            return text
        changes: list[tuple[str, int]] = []
        for grapheme in _graphemes(text.text):
            whole = len(grapheme) == 1 or len(grapheme.encode("utf-8")) < _SHORT
            new = self._replaced(grapheme) if whole else None
            if new is not None:
                _replace(changes, len(grapheme), new)
                continue
            for character in grapheme:
                new = self._replaced(character)
                if new is None:
                    changes.append((character, 0))
                else:
                    _replace(changes, 1, new)
        return text.rewritten(changes)

    @functools.cached_property
    def _changes_ascii(self) -> bool:
        return any(self._replaced(chr(code)) is not None for code in range(0x20, 0x7F))

    def _replacement(self, text: str) -> str | None:
        """The replacement of the shortest rule that the text begins with."""
        try:
            place = self._offset(self._units[0])
            for byte in text.encode("utf-8"):
                place ^= byte
                unit = self._units[place]
                if unit & 0x800000FF != byte or byte == 0:
                    return None
                place ^= self._offset(unit)
                if unit >> 8 & 1:
                    start = self._units[place] & 0x7FFFFFFF
                    end = self._replacements.index(0, start)
                    return self._replacements[start:end].decode("utf-8")
        except (IndexError, ValueError) as error:
            raise CorruptFileError(
                f"Normalization rules lead out of their own table at `{text!r}`: they are damaged."
            ) from error
        return None

    @staticmethod
    def _offset(unit: int) -> int:
        return (unit >> 10) << ((unit & 1 << 9) >> 6)


def _replace(changes: list[tuple[str, int]], old: int, new: str) -> None:
    """Note that `old` characters became `new`."""
    kept = min(old, len(new))
    changes += [(character, 0 if place < kept else 1) for place, character in enumerate(new)]
    if old > len(new) and changes:  # the character before takes what is dropped with it
        last, change = changes[-1]
        changes[-1] = (last, change - (old - len(new)))


# ---- graphemes (UAX 29), as far as they may be short ---------------------------------------------------------------


def _codes(ranges: str) -> frozenset[str]:
    bounds = ([int(end, 16) for end in each.split("-")] for each in ranges.split())
    return frozenset(chr(code) for ends in bounds for code in range(ends[0], ends[-1] + 1))


_ALSO_JOIN = _codes("200C-200D E33 EB3 FF9E-FF9F 1F3FB-1F3FF E0020-E007F")
_DO_NOT_JOIN = _codes("102B-102C 1038 1062-1064 1067-106D 1083 1087-108C 108F 109A-109C 1A61 1A63-1A64 AA7B AA7D 11720-11721")
_PREPENDED = _codes("600-605 6DD 70F 890-891 8E2 D4E 110BD 110CD 111C2-111C3 1193F 11941 11A3A 11A84-11A89 11D46 11F02")


@functools.lru_cache(maxsize=1 << 16)
def _kind(character: str) -> str:
    """`join`s the one before, `prepend`s itself to the next, `control` stands alone, `base` begins a grapheme."""
    category = unicodedata.category(character)
    if character in _ALSO_JOIN or (category[0] == "M" and character not in _DO_NOT_JOIN):
        return "join"
    if character in _PREPENDED:
        return "prepend"
    return "control" if category in ("Cc", "Cf", "Zl", "Zp") else "base"


def _graphemes(text: str) -> Iterator[str]:
    """What people see as one character. Sequences that are long in any case (flags, emoji, Hangul of parts) may come in
    parts, which are looked up character by character just the same."""
    start, before = 0, "control"
    for place, character in enumerate(text):
        kind = _kind(character)
        joined = (kind == "join" and before != "control") or (before == "prepend" and kind != "control")
        if place and not joined and not (character == "\n" and text[place - 1] == "\r"):
            yield text[start:place]
            start = place
        before = kind
    if text:
        yield text[start:]
