"""Byte-level BPE: words by GPT-2's pattern, their bytes as printable characters, pairs merged by rank.

After Radford et al. 2019 (GPT-2) and Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909). Time is linear in the text but
for a logarithm: no text makes it slow.
"""

from __future__ import annotations

import functools
import heapq
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .aligned_text import AlignedText
from .unicode_classes import WHITE_SPACE

__all__ = ["ByteBPE", "byte_characters", "byte_words", "bytes_of_tokens", "in_byte_characters"]


@functools.cache
def byte_characters() -> dict[int, str]:
    """A printable character for each byte: itself where it is one, else the next from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


@functools.cache
def _bytes_by_character() -> dict[str, int]:
    return {character: byte for byte, character in byte_characters().items()}


class _Classes(dict[int, str]):
    """What the pattern below sees of a character. Letters of contractions and the apostrophe stay as they are."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)[0]
        seen = "S" if character in WHITE_SPACE else {"L": "L", "N": "N"}.get(category, "!")
        if len(self) < 1 << 16:
            self[code] = seen
        return seen


_CLASSES = _Classes({ord(character): character for character in " 'strevmld"})
# GPT-2's 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+, over classes: `re` knows no \p.
# Every alternative is one run of a class, and the only step back is a single space, so it is linear.
_WORDS = re.compile(r"'(?:[stmd]|re|ve|ll)| ?[Lstrevmld]+| ?N+| ?[!']+|[ S]+(?![^ S])|[ S]+")


def byte_words(text: AlignedText) -> Iterator[AlignedText]:
    """The words that pairs are merged in; together they are the whole text."""
    for match in _WORDS.finditer(text.text.translate(_CLASSES)):
        yield text.part(match.start(), match.end())


@functools.lru_cache(maxsize=1 << 16)
def in_byte_characters(character: str) -> str:
    """A character's UTF-8 bytes as printable characters."""
    table = byte_characters()
    return "".join(table[byte] for byte in character.encode("utf-8"))


def bytes_of_tokens(tokens: Iterable[str]) -> bytes:
    """The bytes that tokens stand for; a token that is not written in byte characters stands for its own UTF-8."""
    table = _bytes_by_character()
    made = bytearray()
    for token in tokens:
        known = [table.get(character) for character in token]
        made += token.encode("utf-8") if None in known else bytes(byte for byte in known if byte is not None)
    return bytes(made)


class ByteBPE:
    """Merges pairs of pieces, the earliest-learned first.

    Args:
        vocab: token to id. Bytes that it lacks have no token and are left out, as in the established implementation.
        merges: pairs of pieces, in the order they were learned.
    """

    def __init__(self, vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
        self.vocab = vocab
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._cache: dict[str, list[tuple[str, int, int]]] = {}

    def pieces(self, word: str) -> list[tuple[str, int, int]]:
        """(token, start, end) for each piece of a word in byte characters."""
        known = self._cache.get(word)
        if known is None:
            known = self._merged(word)
            if len(self._cache) < 1 << 15 and len(word) < 64:
                self._cache[word] = known
        return known

    def _merged(self, word: str) -> list[tuple[str, int, int]]:
        starts = [place for place, character in enumerate(word) if character in self.vocab]
        pieces: list[str | None] = [word[place] for place in starts]
        ends = [place + 1 for place in starts]
        following = list(range(1, len(pieces) + 1))
        before = list(range(-1, len(pieces) - 1))
        queue: list[tuple[int, int, str, str]] = []

        def offer(place: int) -> None:
            """Queue the pair of the piece here and the next one, where they can be merged."""
            after = following[place]
            if after < len(pieces):
                left, right = pieces[place], pieces[after]
                if left is not None and right is not None and (left, right) in self.ranks:
                    heapq.heappush(queue, (self.ranks[left, right], place, left, right))

        for place in range(len(pieces)):
            offer(place)
        while queue:
            _, place, left, right = heapq.heappop(queue)
            after = following[place]
            if pieces[place] != left or after >= len(pieces) or pieces[after] != right:
                continue  # one of the two was merged meanwhile
            pieces[place], pieces[after] = left + right, None
            ends[place], following[place] = ends[after], following[after]
            if following[place] < len(pieces):
                before[following[place]] = place
            if before[place] >= 0:
                offer(before[place])
            offer(place)
        return [(piece, starts[place], ends[place]) for place, piece in enumerate(pieces) if piece is not None]
