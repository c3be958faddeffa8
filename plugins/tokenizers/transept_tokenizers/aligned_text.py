"""Text that still knows which characters of the original each of its characters came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

__all__ = ["AlignedText", "Span"]

Span = tuple[int, int]
"""(start, end) in characters, the end exclusive."""


class AlignedText:
    """`text`, and for each of its characters the (start, end) that it stands for in the original, in characters."""

    __slots__ = ("spans", "text")

    def __init__(self, text: str, spans: list[Span]) -> None:
        self.text = text
        self.spans = spans

    @classmethod
    def of(cls, text: str) -> Self:
        """The original itself."""
        return cls(text, [(place, place + 1) for place in range(len(text))])

    def __len__(self) -> int:
        return len(self.text)

    def part(self, start: int, end: int) -> AlignedText:
        """Characters `start` to `end` (exclusive)."""
        return AlignedText(self.text[start:end], self.spans[start:end])

    def span(self, start: int, end: int) -> Span:
        """What characters `start` to `end` (exclusive) stand for in the original."""
        return self.spans[start][0], self.spans[end - 1][1]

    def mapped(self, table: Callable[[str], str]) -> AlignedText:
        """Each character replaced by what the table says: any number of characters, which stand for the same original."""
        pieces = [table(character) for character in self.text]
        text = "".join(pieces)
        if len(text) == len(self.text) and all(pieces):
            return AlignedText(text, self.spans)
        return AlignedText(text, [span for piece, span in zip(pieces, self.spans, strict=True) for _ in piece])

    def prepended(self, prefix: str) -> AlignedText:
        """With a prefix, which stands for the same original as the first character."""
        return AlignedText(prefix + self.text, [self.spans[0]] * len(prefix) + self.spans)

    def rewritten(self, changes: Iterable[tuple[str, int]]) -> AlignedText:
        """New characters, each with a change: 0 takes the place of the next old one, 1 is put in after it, and -n takes the
        place of the next one and drops the n that follow."""
        characters: list[str] = []
        spans: list[Span] = []
        place = 0
        for character, change in changes:
            characters.append(character)
            spans.append(self.spans[max(place - 1, 0) if change > 0 else place])
            if change <= 0:
                place += 1 - change
        return AlignedText("".join(characters), spans)

    def replaced(self, old: str, new: str) -> AlignedText:
        """With one text in place of another wherever that stands; it stands for the last character that it replaces."""
        made, spans, start = [], [], 0
        while (place := self.text.find(old, start)) >= 0:
            end = place + len(old)
            made += [self.text[start:place], new]
            spans += [*self.spans[start:place], *[self.spans[end - 1]] * len(new)]
            start = end
        return self if not start else AlignedText("".join([*made, self.text[start:]]), spans + self.spans[start:])

    def words(self, is_space: Callable[[str], bool]) -> Iterable[AlignedText]:
        """The stretches between spaces."""
        start = None
        for place, character in enumerate(self.text):
            if is_space(character):
                if start is not None:
                    yield self.part(start, place)
                start = None
            elif start is None:
                start = place
        if start is not None:
            yield self.part(start, len(self.text))
