"""A tokenizer of characters: the smallest backend that there can be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
from transept_tokenizers.tokenization import AddedToken, PreTrainedTokenizerBase, Truncation
from transept_tokenizers.tokenization.tokenizer_files import write_json

from transept.files import Location


class CharacterEncoding:
    """An `Encoding` of characters."""

    def __init__(self, parts: list[tuple[int, str, int | None, int]]) -> None:
        self.ids = [part[0] for part in parts]
        self.tokens = [part[1] for part in parts]
        self.sequence_ids = [part[2] for part in parts]
        self.type_ids = [part[2] or 0 for part in parts]
        self.offsets = [(part[3], part[3] + 1) for part in parts]
        self.attention_mask = [1] * len(parts)
        self.special_tokens_mask = [int(part[2] is None) for part in parts]
        self.word_ids = [None if part[2] is None else part[3] for part in parts]
        self.overflowing: list[Any] = []
        self.n_sequences = 1 + max((part[2] or 0 for part in parts), default=0)

    def pad(self, length: int, direction: str, pad_id: int, pad_type_id: int, pad_token: str) -> None:
        fillers = {
            "ids": pad_id,
            "tokens": pad_token,
            "sequence_ids": None,
            "type_ids": pad_type_id,
            "offsets": (0, 0),
            "attention_mask": 0,
            "special_tokens_mask": 1,
            "word_ids": None,
        }
        for name, filler in fillers.items():
            row = getattr(self, name)
            fill = [filler] * (length - len(row))
            setattr(self, name, fill + row if direction == "left" else row + fill)

    def token_to_chars(self, index: int) -> tuple[int, int] | None:
        return None if self.sequence_ids[index] is None else self.offsets[index]

    def char_to_token(self, char: int, sequence: int = 0) -> int | None:
        return next((i for i, s in enumerate(self.sequence_ids) if s == sequence and self.offsets[i][0] == char), None)


class CharacterTokenizer(PreTrainedTokenizerBase):
    """Each character is a token; `<` and `>` stand around."""

    def __init__(self, *, letters: str = "<>abcdefgh ", **settings: Any) -> None:
        super().__init__(**settings)
        self.letters = letters
        self.added: list[AddedToken] = []

    def _encode_batch(
        self,
        texts: Sequence[Any],
        *,
        add_special_tokens: bool,
        is_split_into_words: bool,
        truncation: Truncation | None,
        split_special_tokens: bool,
    ) -> list[Any]:
        made = []
        for item in texts:
            pair = item if isinstance(item, (tuple, list)) and not is_split_into_words else (item,)
            parts: list[Any] = []
            for which, text in enumerate(pair):
                inner = [(self._token_to_id(c) or 0, c, which, place) for place, c in enumerate("".join(text))]
                around = [(0, "<", None, 0)], [(1, ">", None, 0)]
                parts += [*around[0], *inner, *around[1]] if add_special_tokens else inner
            limit = len(parts) if truncation is None else truncation.max_length
            encoding = CharacterEncoding(parts[:limit])
            encoding.overflowing = [CharacterEncoding(parts[i : i + limit]) for i in range(limit, len(parts), limit or 1)]
            made.append(encoding)
        return made

    def _decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        tokens = self.convert_ids_to_tokens(ids, skip_special_tokens=skip_special_tokens)
        text = "".join(token or "" for token in tokens)
        return self.clean_up_tokenization(text) if clean_up_tokenization_spaces else text

    @classmethod
    def _from_location(cls, location: Location, settings: dict[str, Any]) -> Self:
        path = location.fetch("letters.txt")
        assert path is not None
        return cls(letters=path.read_text(), **settings)

    def _save_vocabulary(self, folder: Path) -> list[Path]:
        (folder / "letters.txt").write_text(self.letters)
        return [folder / "letters.txt", write_json(folder / "x.json", {"a": 1})]

    def _add_tokens(self, tokens: Sequence[AddedToken], special_tokens: bool) -> int:
        new = [token for token in tokens if self._token_to_id(token.content) is None]
        self.added += new
        return len(new)

    @property
    def vocab_size(self) -> int:
        return len(self.letters)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return {len(self.letters) + place: token for place, token in enumerate(self.added)}

    def get_vocab(self) -> dict[str, int]:
        return {**{letter: place for place, letter in enumerate(self.letters)}, **self.added_tokens_encoder}

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return 4 if pair else 2

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        return "".join(tokens)

    def _token_to_id(self, token: str) -> int | None:
        return self.get_vocab().get(token)

    def _id_to_token(self, index: int) -> str | None:
        return {value: key for key, value in self.get_vocab().items()}.get(index)


@pytest.fixture
def make() -> type[CharacterTokenizer]:
    return CharacterTokenizer


@pytest.fixture
def tokenizer() -> CharacterTokenizer:
    return CharacterTokenizer(bos_token="<", eos_token=">", pad_token=" ", unk_token="h", model_max_length=12)
