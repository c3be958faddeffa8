"""Unigram: the most probable way to cut a word into pieces (Kudo 2018, https://arxiv.org/abs/1804.10959), found by Viterbi's
algorithm, with the ids of the `tokenizers` library."""

from __future__ import annotations

import re
from collections.abc import Sequence

from transept.errors import TokenizerError

__all__ = ["META_SPACE", "Unigram", "join_bytes", "join_meta_space"]

META_SPACE = "\u2581"
"""What stands for a space in pieces."""
_UNKNOWN_PENALTY = 10.0
"""A character that no piece covers scores this much below the worst piece."""


class Unigram:
    """Cuts words by the scores of their pieces.

    Args:
        vocab: (piece, log probability), in the order of ids.
        unk_id: id of the unknown piece.
        byte_fallback: a stretch that no piece covers becomes its bytes, `<0x00>` to `<0xFF>`, where the vocabulary has those.

    Raises:
        TokenizerError: no pieces, or an unknown piece that is none of them.
    """

    def __init__(self, vocab: Sequence[tuple[str, float]], unk_id: int, byte_fallback: bool = False) -> None:
        if not 0 <= unk_id < len(vocab):
            raise TokenizerError(
                f"The unknown piece has id {unk_id} and the vocabulary {len(vocab)} pieces: it must be one of them."
            )
        self.ids = {piece: place for place, (piece, _) in enumerate(vocab)}
        self.scores = dict(vocab)
        self.unk_id = unk_id
        self.byte_fallback = byte_fallback
        self._unknown_score = min(score for _, score in vocab) - _UNKNOWN_PENALTY
        self._longest: dict[str, int] = {}
        for piece in self.ids:
            self._longest[piece[:1]] = max(len(piece), self._longest.get(piece[:1], 0))
        self._cache: dict[str, list[tuple[str, int, int]]] = {}

    def pieces(self, word: str) -> list[tuple[str, int, int]]:
        """(token, start, end) for each piece; a token that is not in the vocabulary is unknown."""
        known = self._cache.get(word)
        if known is None:
            known = self._best(word)
            if len(self._cache) < 1 << 15 and len(word) < 64:
                self._cache[word] = known
        return known

    def _best(self, word: str) -> list[tuple[str, int, int]]:
        scores = [0.0] * (len(word) + 1)
        begins: list[int | None] = [None] * (len(word) + 1)
        is_unknown = [False] * (len(word) + 1)

        def offer(start: int, end: int, score: float, unknown: bool) -> None:
            if begins[end] is None or score > scores[end]:
                scores[end], begins[end], is_unknown[end] = score, start, unknown

        for start in range(len(word)):
            for end in range(start + 1, min(start + self._longest.get(word[start], 0), len(word)) + 1):
                score = self.scores.get(word[start:end])
                if score is not None:
                    offer(start, end, scores[start] + score, self.ids[word[start:end]] == self.unk_id)
            if word[start] not in self.scores:
                offer(start, start + 1, scores[start] + self._unknown_score, True)
        cuts: list[tuple[int, int]] = []
        end, in_unknown = len(word), False
        while end > 0:
            start = begins[end] or 0
            if is_unknown[end] and in_unknown:  # neighbours that are unknown are one
                cuts[-1] = (start, cuts[-1][1])
            else:
                cuts.append((start, end))
            in_unknown = is_unknown[end]
            end = start
        return [token for start, end in reversed(cuts) for token in self._named(word[start:end], start, end)]

    def _named(self, piece: str, start: int, end: int) -> list[tuple[str, int, int]]:
        if self.byte_fallback and piece not in self.ids:
            names = [f"<0x{byte:02X}>" for byte in piece.encode("utf-8")]
            if all(name in self.ids for name in names):
                return [(name, start, end) for name in names]
        return [(piece, start, end)]


def join_meta_space(tokens: Sequence[str]) -> str:
    """Tokens as text: spaces where they stand for them, but not at the very beginning."""
    first, rest = "".join(tokens[:1]), "".join(tokens[1:])
    return first.replace(META_SPACE, "") + rest.replace(META_SPACE, " ")


def join_bytes(tokens: Sequence[str]) -> list[str]:
    """Tokens with each stretch of bytes, `<0x00>` to `<0xFF>`, as the text that they are; bytes that are none give U+FFFD."""
    joined: list[str] = []
    waiting = bytearray()
    for token in [*tokens, ""]:
        if _BYTE.fullmatch(token):
            waiting.append(int(token[3:5], 16))
            continue
        if waiting:
            try:
                joined.append(waiting.decode("utf-8"))
            except UnicodeDecodeError:
                joined += ["\ufffd"] * len(waiting)
            waiting.clear()
        joined.append(token)
    return joined[:-1]


_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
