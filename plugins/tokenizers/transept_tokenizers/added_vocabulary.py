"""Added tokens: found in a text before the algorithm sees it, each with its flags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from transept_tokenizers.tokenization import AddedToken

from .aligned_text import AlignedText
from .unicode_classes import is_white_space, is_word

__all__ = ["AddedVocabulary"]


class AddedVocabulary:
    """Tokens that stand beside the learned vocabulary, by id.

    Of several that begin at one place the longest counts, as in the `tokenizers` library. A token with `normalized` is
    looked for in the normalized text, in its own normalized form.
    """

    def __init__(self) -> None:
        self.by_id: dict[int, AddedToken] = {}
        self.ids: dict[str, int] = {}
        self.normalized_forms: dict[int, str] = {}
        self._patterns: dict[bool, tuple[re.Pattern[str] | None, dict[str, int]]] = {}

    def add(self, index: int, token: AddedToken, normalize: Callable[[str], str]) -> None:
        """Put a token in, or give one that is there its new flags."""
        self.by_id[index] = token
        self.ids[token.content] = index
        self.normalized_forms[index] = normalize(token.content) if token.normalized else token.content
        self._patterns.clear()

    def split(self, text: AlignedText, *, normalized: bool, skip_special: bool) -> Iterator[tuple[AlignedText, int | None]]:
        """The text in parts, each with the id of the token that it is; None for text between tokens.

        With `skip_special`, special tokens are text like any other.
        """
        pattern, found = self._pattern(normalized)
        start = 0
        for match in pattern.finditer(text.text) if pattern is not None else ():
            first, last = match.span()
            index = found[match.group()]
            token = self.by_id[index]
            if skip_special and token.special:
                continue
            if token.single_word and (
                (first > 0 and is_word(text.text[first - 1])) or (last < len(text) and is_word(text.text[last]))
            ):
                continue
            while token.lstrip and first > start and is_white_space(text.text[first - 1]):
                first -= 1
            while token.rstrip and last < len(text) and is_white_space(text.text[last]):
                last += 1
            if start < first:
                yield text.part(start, first), None
            yield text.part(first, last), index
            start = last
        if start < len(text):
            yield text.part(start, len(text)), None

    def _pattern(self, normalized: bool) -> tuple[re.Pattern[str] | None, dict[str, int]]:
        if normalized not in self._patterns:
            found = {
                self.normalized_forms[index]: index
                for index, token in self.by_id.items()
                if bool(token.normalized) == normalized and self.normalized_forms[index]
            }
            longest_first = sorted(found, key=len, reverse=True)
            pattern = re.compile("|".join(map(re.escape, longest_first))) if found else None
            self._patterns[normalized] = pattern, found
        return self._patterns[normalized]
