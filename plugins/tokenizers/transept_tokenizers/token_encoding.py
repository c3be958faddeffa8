"""The encoding that tokenizers in plain Python return: a row of tokens, cut, put together and filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transept.errors import TokenizerError
from transept_tokenizers.tokenization import Encoding, Truncation

__all__ = ["Token", "TokenEncoding", "cut_texts", "put_together"]


class Token(NamedTuple):
    """One token of a row. `span` is (start, end) in characters, None where the tokenizer does not know; `sequence` is the
    text that it is from, 0 or 1, and None for special tokens and padding."""

    id: int
    text: str
    span: tuple[int, int] | None = (0, 0)
    word: int | None = None
    sequence: int | None = None
    type_id: int = 0
    is_special: bool = False
    is_padding: bool = False


class TokenEncoding:
    """A row of tokens; an `Encoding`."""

    def __init__(self, row: list[Token], overflowing: Sequence[list[Token]] = (), n_sequences: int = 1) -> None:
        self.row = row
        self.n_sequences = n_sequences
        self.overflowing: list[Encoding] = [TokenEncoding(each, (), n_sequences) for each in overflowing]

    @property
    def ids(self) -> list[int]:
        """Ids."""
        return [token.id for token in self.row]

    @property
    def type_ids(self) -> list[int]:
        """Which part of the model's input each token counts to."""
        return [token.type_id for token in self.row]

    @property
    def tokens(self) -> list[str]:
        """Tokens as text."""
        return [token.text for token in self.row]

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """(start, end) in characters of the text.

        Raises:
            TokenizerError: the tokenizer only says which tokens a text has.
        """
        return [self._span(token) for token in self.row]

    @staticmethod
    def _span(token: Token) -> tuple[int, int]:
        if token.span is None:
            raise TokenizerError(
                "This tokenizer does not know which characters its tokens are from: its `_tokenize` gives tokens alone. Use a "
                "fast tokenizer (`use_fast=True`), or implement `_pre_tokenize` and `_word_pieces`."
            )
        return token.span

    @property
    def attention_mask(self) -> list[int]:
        """0 for padding, 1 for all else."""
        return [int(not token.is_padding) for token in self.row]

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for tokens that are not from a text."""
        return [int(token.is_special) for token in self.row]

    @property
    def word_ids(self) -> list[int | None]:
        """The word that each token is from."""
        return [token.word for token in self.row]

    @property
    def sequence_ids(self) -> list[int | None]:
        """The text that each token is from, 0 or 1."""
        return [token.sequence for token in self.row]

    def pad(
        self, length: int, direction: str = "right", pad_id: int = 0, pad_type_id: int = 0, pad_token: str = "[PAD]"
    ) -> None:
        """Fill the row, and its overflowing parts, to a length."""
        for part in self.overflowing:
            part.pad(length, direction, pad_id, pad_type_id, pad_token)
        filler = Token(pad_id, pad_token, type_id=pad_type_id, is_special=True, is_padding=True)
        fill = [filler] * (length - len(self.row))
        self.row = fill + self.row if direction == "left" else self.row + fill

    def token_to_sequence(self, token_index: int) -> int | None:
        """The text that a token is from."""
        return self.row[token_index].sequence if token_index < len(self.row) else None

    def token_to_word(self, token_index: int) -> int | None:
        """The word that a token is from."""
        return self.row[token_index].word if token_index < len(self.row) else None

    def token_to_chars(self, token_index: int) -> tuple[int, int] | None:
        """The characters that a token stands for."""
        if token_index >= len(self.row) or self.row[token_index].sequence is None:
            return None
        return self._span(self.row[token_index])

    def word_to_tokens(self, word_index: int, sequence_index: int = 0) -> tuple[int, int] | None:
        """The tokens of a word: (first, last + 1)."""
        places = [
            place for place, token in enumerate(self.row) if token.word == word_index and token.sequence == sequence_index
        ]
        return (places[0], places[-1] + 1) if places else None

    def word_to_chars(self, word_index: int, sequence_index: int = 0) -> tuple[int, int] | None:
        """The characters of a word."""
        tokens = self.word_to_tokens(word_index, sequence_index)
        return None if tokens is None else (self._span(self.row[tokens[0]])[0], self._span(self.row[tokens[1] - 1])[1])

    def char_to_token(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The token that stands for a character."""
        for place, token in enumerate(self.row):
            if token.sequence == sequence_index:
                start, end = self._span(token)
                if start <= char_pos < end:
                    return place
        return None

    def char_to_word(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The word that a character is in."""
        place = self.char_to_token(char_pos, sequence_index)
        return None if place is None else self.row[place].word


# ---- cutting -------------------------------------------------------------------------------------------------------

Parts = list[list[Token]]
"""A text's tokens, and after them the parts that did not fit."""


def cut_texts(texts: list[list[Token]], truncation: Truncation, room: int) -> list[Parts]:
    """Cut a text, or a pair, so that together they have at most `room` tokens.

    Raises:
        TokenizerError: what the strategy may cut is too short, or no longer than the stride.
    """
    lengths = [len(tokens) for tokens in texts]
    too_many = sum(lengths) - room
    if too_many <= 0:
        return [[tokens] for tokens in texts]
    if room == 0:
        lengths = [0] * len(texts)
    elif truncation.strategy == "longest_first":
        lengths = _shares(lengths, room)
    else:
        which = 0 if truncation.strategy == "only_first" else 1
        if lengths[which] <= too_many:
            raise TokenizerError(
                f'`truncation="{truncation.strategy}"` may take from {lengths[which]} tokens and has to take {too_many}: allow '
                'more with `max_length`, or pass `truncation="longest_first"`, which cuts both texts of a pair.'
            )
        lengths[which] -= too_many
    return [_parts(tokens, length, truncation) for tokens, length in zip(texts, lengths, strict=True)]


def _shares(lengths: list[int], room: int) -> list[int]:
    """What each text keeps: the longer one is cut until both are equally long, then both are."""
    if len(lengths) == 1:
        return [room]
    shorter, longer = sorted(lengths)
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter = room // 2
        longer = shorter + room % 2
    return [longer, shorter] if lengths[0] > lengths[1] else [shorter, longer]


def _parts(tokens: list[Token], length: int, truncation: Truncation) -> Parts:
    if length >= len(tokens):
        return [tokens]
    if length == 0:
        return [[], tokens]
    step = length - truncation.stride
    if step <= 0:
        raise TokenizerError(
            f"A text keeps {length} tokens, no more than the `stride` of {truncation.stride} that each part repeats: allow more "
            "with `max_length`, or a smaller `stride`."
        )
    total, parts = len(tokens), []
    for place in range(0, total, step):
        if truncation.side == "right":
            parts.append(tokens[place : place + length])
        else:
            parts.append(tokens[max(total - place - length, 0) : total - place])
        if place + length >= total:
            break
    return parts


# ---- putting together ----------------------------------------------------------------------------------------------


def put_together(pieces: list[Parts]) -> tuple[list[Token], list[list[Token]]]:
    """A row out of special tokens and cut texts, and the rows with the parts that did not fit: each with each."""
    row: list[Token] = []
    overflowing: list[list[Token]] = []
    for first, *others in pieces:
        overflowing = [rest + part for rest in overflowing for part in (first, *others)] + [row + part for part in others]
        row = row + first
    return row, overflowing
