"""WordPiece: the text cleaned and cut into words, each word into the longest pieces that the vocabulary has.

After Wu et al. 2016 (https://arxiv.org/abs/1609.08144) and the BERT code of Devlin et al. 2018, with the ids of the
`tokenizers` library.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping

from .aligned_text import AlignedText, Span
from .unicode_classes import decomposed, is_control, is_nonspacing_mark, is_punctuation, is_white_space

__all__ = ["BasicTokenizer", "WordPiece", "join_word_pieces"]

LONGEST_WORD = 100
"""Words of more characters become one unknown token."""
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class BasicTokenizer:
    """What BERT does before WordPiece: clean, put spaces around ideographs, lowercase, strip accents, cut at punctuation.

    Args:
        do_lower_case: lowercase the text.
        never_split: words that are neither changed nor cut.
        tokenize_chinese_chars: each CJK ideograph is a word.
        strip_accents: drop nonspacing marks; None: where the text is lowercased.
    """

    def __init__(
        self,
        do_lower_case: bool = True,
        never_split: Iterable[str] = (),
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
    ) -> None:
        self.do_lower_case = do_lower_case
        self.never_split = frozenset(never_split)
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.strip_accents = strip_accents
        # every step looks at one character alone, so a text is a look-up for each of its characters
        self._normalize_character = functools.lru_cache(maxsize=1 << 16)(self._normalized_character)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._normalize_character = functools.lru_cache(maxsize=1 << 16)(self._normalized_character)

    def _normalized_character(self, character: str) -> str:
        if character in "\0\ufffd" or is_control(character):
            return ""
        if is_white_space(character):
            return " "
        is_ideograph = self.tokenize_chinese_chars and any(low <= ord(character) <= high for low, high in _IDEOGRAPHS)
        text = character
        if self.do_lower_case if self.strip_accents is None else self.strip_accents:
            text = "".join(each for each in decomposed(text) if not is_nonspacing_mark(each))
        if self.do_lower_case:
            text = "".join(each.lower() for each in text)  # one by one: a sigma is the same wherever it stands
        return f" {text} " if is_ideograph else text

    def normalized(self, text: AlignedText) -> AlignedText:
        """The cleaned text."""
        if not self.never_split:
            return text.mapped(self._normalize_character)
        spans: list[Span] = []
        pieces: list[str] = []
        end = 0
        for word in text.words(is_white_space):
            kept = word if word.text in self.never_split else word.mapped(self._normalize_character)
            if pieces:
                pieces.append(" ")
                spans.append((end, end + 1))
            pieces.append(kept.text)
            spans += kept.spans
            end = word.spans[-1][1]
        return AlignedText("".join(pieces), spans)

    def words(self, text: AlignedText) -> Iterator[AlignedText]:
        """A cleaned text's words and punctuation marks."""
        for word in text.words(is_white_space):
            if word.text in self.never_split:
                yield word
                continue
            start = 0
            for place, character in enumerate(word.text):
                if is_punctuation(character):
                    if start < place:
                        yield word.part(start, place)
                    yield word.part(place, place + 1)
                    start = place + 1
            if start < len(word):
                yield word.part(start, len(word))


class WordPiece:
    """Greedy longest match: `unaffable` becomes `un`, `##aff`, `##able`; a word that cannot be made of pieces is unknown."""

    def __init__(self, vocab: Mapping[str, int], unk_token: str) -> None:
        self.vocab = vocab
        self.unk_token = unk_token

    def pieces(self, word: str) -> list[tuple[str, int, int]]:
        """(token, start, end) for each piece, in characters of the word."""
        unknown = [(self.unk_token, 0, len(word))]
        if len(word) > LONGEST_WORD:
            return unknown
        found = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = prefix + word[start:end]
                if piece in self.vocab:
                    found.append((piece, start, end))
                    start = end
                    break
            else:
                return unknown
        return found


def join_word_pieces(tokens: Iterable[str]) -> str:
    """Tokens as text: pieces joined, and the spaces before punctuation and contractions taken out of each token."""
    text = []
    for place, token in enumerate(tokens):
        part = token if not place else token[2:] if token.startswith("##") else f" {token}"
        for spaced, joined in _TIDY:
            part = part.replace(spaced, joined)
        text.append(part)
    return "".join(text)


_TIDY = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
