"""Tokenizers in plain Python: the base that families extend, and strangers' tokenizers with them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from transept.errors import TokenizerError, shorten
from transept.files import Location
from transept_tokenizers.tokenization import AddedToken, Encoding, Truncation
from transept_tokenizers.tokenization.added_token import as_added_token
from transept_tokenizers.tokenization.rows import is_pair, lone_surrogate_error

from .added_vocabulary import AddedVocabulary
from .aligned_text import AlignedText, Span
from .chat import ChatTemplates
from .layout import SpecialTokenLayout
from .token_encoding import Token, TokenEncoding, cut_texts, put_together

__all__ = ["PreTrainedTokenizer"]

TOKENIZER_FILE = "tokenizer.json"


class PreTrainedTokenizer(ChatTemplates, SpecialTokenLayout):
    """A tokenizer in plain Python.

    A subclass sets `self.vocab` (token to id) before it calls `super().__init__`, and says how a text becomes tokens in one
    of two ways:

    - `_pre_tokenize` (words of a text) and `_word_pieces` (pieces of a word), with `_normalize` before them where the text is
      changed. Words and characters of tokens are known then.
    - `_tokenize` (tokens of a text) alone, as tokenizers written for the established library have it. Offsets are refused.

    It may also override `build_inputs_with_special_tokens` and `create_token_type_ids_from_sequences` (special tokens; none
    by default), `convert_tokens_to_string`, `save_vocabulary`, and, with a vocabulary that is no mapping, `vocab_size`,
    `get_vocab`, `_convert_token_to_id`, `_convert_id_to_token`. `vocab_files_names` names the files that `from_pretrained`
    passes to the constructor, by argument.

    Args:
        added_tokens_decoder: added tokens by id, with their flags, as `tokenizer_config.json` keeps them.
        settings: arguments of `PreTrainedTokenizerBase`.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {}
    decided_by_file: ClassVar[tuple[str, ...]] = ()
    """Settings that a `tokenizer.json` has inside: where the tokenizer is made of one, a checkpoint's copies count for nothing."""
    spaces_are_text: ClassVar[bool] = False
    """Decoding gives the text's own spaces, so `clean_up_tokenization_spaces` is not applied."""

    _vocab: Mapping[str, int] = {}
    _tokens_by_id: dict[int, str] | None = None
    _all_tokens: dict[str, int] | None = None

    def __init__(self, *, added_tokens_decoder: Mapping[Any, Any] | None = None, **settings: Any) -> None:
        self._added = AddedVocabulary()
        super().__init__(**settings)
        self._take_added_tokens(added_tokens_decoder or {})

    def _take_added_tokens(self, decoder: Mapping[Any, Any]) -> None:
        """Take the tokens of `added_tokens_decoder` at their ids, then the special tokens that are not among them."""
        try:
            listed = sorted((int(index), token) for index, token in decoder.items())
        except (TypeError, ValueError) as error:
            raise TokenizerError("`added_tokens_decoder` must map ids to tokens.") from error
        named = [token for token in self._special_tokens.values() if token is not None]
        special = {token.content for token in (*named, *self._extra_special_tokens)}
        for index, token in listed:
            where = f"added_tokens_decoder[{index}]"
            read = as_added_token(token, where, special=True) if str(token) in special else as_added_token(token, where)
            if index < 0 or self._learned_id(read.content) not in (None, index):
                raise TokenizerError(
                    f"`{where}` is `{read.content}`, which the vocabulary has at {self._learned_id(read.content)}: the files are "
                    "of different tokenizers."
                )
            self._put(index, read)
        self._add_tokens([each for each in (*named, *self._extra_special_tokens) if each.content not in self._added.ids], True)

    def _put(self, index: int, token: AddedToken) -> None:
        self._added.add(index, token, lambda text: self._normalize(AlignedText.of(text)).text)
        self._all_tokens = None

    def _add_tokens(self, tokens: Sequence[AddedToken], special_tokens: bool) -> int:
        changed = 0
        for token in tokens:
            index = self._token_to_id(token.content)
            if not token.content or (index is not None and self._added.by_id.get(index) == token):
                continue
            if index is None:
                index = max(self.vocab_size, 1 + max(self._added.by_id, default=-1))
            self._put(index, token)
            changed += 1
        return changed

    # ---- what a subclass says -----------------------------------------------------------------------------------

    def _normalize(self, text: AlignedText) -> AlignedText:
        """The text as words are looked for in it."""
        return text

    def _pre_tokenize(self, text: AlignedText) -> Iterable[AlignedText]:
        """The words of a normalized text that has no added tokens."""
        raise NotImplementedError(f"`{type(self).__name__}` has neither `_pre_tokenize` with `_word_pieces`, nor `_tokenize`.")

    def _word_pieces(self, word: str) -> list[tuple[str, int, int]]:
        """(token, start, end) for each piece of a word, in characters of the word."""
        raise NotImplementedError(f"`{type(self).__name__}` has `_pre_tokenize` and no `_word_pieces`.")

    def _tokenize(self, text: str) -> list[str]:
        """The tokens of a text that has no added tokens."""
        words = self._pre_tokenize(self._normalize(AlignedText.of(text)))
        return [token for word in words for token, *_ in self._word_pieces(word.text)]

    def _convert_token_to_id(self, token: str) -> int | None:
        """Id of a learned token."""
        return self._vocab.get(token)

    def _convert_id_to_token(self, index: int) -> str | None:
        """The learned token of an id."""
        if self._tokens_by_id is None:
            self._tokens_by_id = {place: token for token, place in self._vocab.items()}
        return self._tokens_by_id.get(index)

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """Ids of a text, or of a pair, with special tokens around and between them."""
        return [*token_ids_0, *(token_ids_1 or [])]

    def create_token_type_ids_from_sequences(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """Type ids of what `build_inputs_with_special_tokens` returns."""
        return [0] * len(self.build_inputs_with_special_tokens(token_ids_0, token_ids_1))

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the vocabulary's files to a folder; returns their paths."""
        raise NotImplementedError(f"`{type(self).__name__}` has no `save_vocabulary`.")

    # ---- texts to ids -------------------------------------------------------------------------------------------

    def _layout(self, pair: bool) -> list[tuple[int | None, int, int]]:
        probe = ([-1], [-2]) if pair else ([-1], None)
        ids = self.build_inputs_with_special_tokens(*probe)
        kinds = self.create_token_type_ids_from_sequences(*probe)
        if len(ids) != len(kinds):
            raise TokenizerError(
                f"`{type(self).__name__}` makes {len(ids)} ids and {len(kinds)} type ids of the same text: its "
                "`create_token_type_ids_from_sequences` must follow its `build_inputs_with_special_tokens`."
            )
        return [({-1: 0, -2: 1}.get(index), index, kind) for index, kind in zip(ids, kinds, strict=True)]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return sum(which is None for which, *_ in self._layout(pair))

    def _encode_batch(
        self,
        texts: Sequence[Any],
        *,
        add_special_tokens: bool,
        is_split_into_words: bool,
        truncation: Truncation | None,
        split_special_tokens: bool,
    ) -> list[Encoding]:
        error = lone_surrogate_error(texts)
        if error is not None:
            raise error
        if truncation is not None:
            self._check_truncation(texts, truncation, add_special_tokens)
        encodings: list[Encoding] = []
        for item in texts:
            pair = is_pair(item, is_split_into_words)
            layout = self._layout(pair)
            kinds = {which: kind for which, _, kind in layout}
            rows = [
                [
                    Token(*token, which, kinds[which])
                    for token in (
                        self._words(text, split_special_tokens)
                        if is_split_into_words
                        else self._tokens(text, split_special_tokens)
                    )
                ]
                for which, text in enumerate(item if pair else [item])
            ]
            special = [
                [[Token(index, str(self._id_to_token(index)), type_id=kind, is_special=True)]]
                for which, index, kind in layout
                if which is None and add_special_tokens
            ]
            room = 0 if truncation is None else truncation.max_length - len(special)
            parts = [[row] for row in rows] if truncation is None else cut_texts(rows, truncation, room)
            parts = [[self._finish_row(row) for row in text] for text in parts]
            around = iter(special)
            places = [which for which, *_ in layout if which is not None or add_special_tokens]
            pieces = [next(around) if which is None else parts[which] for which in places]
            encodings.append(TokenEncoding(*put_together(pieces), n_sequences=len(rows)))
        return encodings

    def _words(self, words: Sequence[str], split_special_tokens: bool) -> Iterator[tuple[int, str, Span | None, int | None]]:
        """Tokens of a text that comes as words; offsets are those in each word."""
        for place, word in enumerate(words):
            for index, token, span, _ in self._tokens(word, split_special_tokens):
                yield index, token, span, place

    def _tokens(self, text: str, split_special_tokens: bool) -> Iterator[tuple[int, str, Span | None, int | None]]:
        """(id, token, characters, word) for each token of a text, added tokens first looked for as they are, then in the
        normalized text."""
        knows_words = type(self)._tokenize is PreTrainedTokenizer._tokenize
        place = 0
        for raw, added in self._added.split(AlignedText.of(text), normalized=False, skip_special=split_special_tokens):
            parts: Iterable[tuple[AlignedText, int | None]] = [(raw, added)]
            if added is None:
                normalized = self._normalize(raw) if knows_words else raw
                parts = self._added.split(normalized, normalized=True, skip_special=split_special_tokens)
            for part, index in parts:
                if index is not None:
                    yield index, part.text, part.span(0, len(part)), place
                    place += 1
                elif not knows_words:
                    for token in self._tokenize(part.text):
                        yield self._known_id(token), token, None, None
                else:
                    for word in self._pre_tokenize(part):
                        for token, start, end in self._word_pieces(word.text):
                            yield self._known_id(token), token, word.span(start, end), place
                        place += 1

    def _known_id(self, token: str) -> int:
        index = self._convert_token_to_id(token)
        if index is None:
            index = self.unk_token_id
        if index is None:
            raise TokenizerError(f"`{token}` is not in the vocabulary, and there is no `unk_token` to stand for it.")
        return index

    def _finish_row(self, row: list[Token]) -> list[Token]:
        """The tokens of a text, or of a part that it was cut into, as they stand between special tokens."""
        return row

    # ---- ids to texts -------------------------------------------------------------------------------------------

    def _decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        tokens = []
        for place, index in enumerate(ids):
            token = self._id_to_token(index)
            if token is None:
                raise TokenizerError(
                    f"`token_ids[{place}]` is {index}, and no token has that id: there are {len(self)} tokens."
                )
            if not (skip_special_tokens and index in self._added.by_id and self._added.by_id[index].special):
                tokens.append(token)
        text = self.convert_tokens_to_string(tokens)
        if clean_up_tokenization_spaces and self.spaces_are_text:
            if not self.clean_up_tokenization_spaces:  # asked for in this call, and not a default that a checkpoint carries
                warnings.warn("`clean_up_tokenization_spaces` is not applied: the spaces are the text's own.", stacklevel=3)
            return text
        return self.clean_up_tokenization(text) if clean_up_tokenization_spaces else text

    # ---- vocabulary ---------------------------------------------------------------------------------------------

    @property
    def is_fast(self) -> bool:
        """False: this is Python."""
        return False

    @property
    def vocab(self) -> dict[str, int]:
        """Every token with its id. Setting it sets the learned ones."""
        if self._all_tokens is None or not self._vocab:
            self._all_tokens = PreTrainedTokenizer.get_vocab(self) if self._vocab else self.get_vocab()
        return self._all_tokens

    @vocab.setter
    def vocab(self, value: Mapping[str, int]) -> None:
        self._vocab, self._tokens_by_id, self._all_tokens = value, None, None

    @property
    def vocab_size(self) -> int:
        return len(self._vocab)

    def get_vocab(self) -> dict[str, int]:
        added = self.__dict__.get("_added")  # a subclass may look at its vocabulary before it calls `__init__`
        return {**self._vocab, **({} if added is None else added.ids)}

    def __len__(self) -> int:
        return len(self.vocab)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return dict(sorted(self._added.by_id.items()))

    def _learned_id(self, token: str) -> int | None:
        """Id of a learned token; None where it has none, or the vocabulary says `unk_token` to what it does not know."""
        index = self._convert_token_to_id(token)
        unknown = self._special_tokens["unk_token"]
        if index is not None and unknown is not None and token != unknown.content:
            return None if index == self._convert_token_to_id(unknown.content) else index
        return index

    def _token_to_id(self, token: str) -> int | None:
        index = self._added.ids.get(token)
        return self._learned_id(token) if index is None else index

    def _id_to_token(self, index: int) -> str | None:
        token = self._added.normalized_forms.get(index)
        return self._convert_id_to_token(index) if token is None else token

    # ---- files --------------------------------------------------------------------------------------------------

    @classmethod
    def _settings(cls, location: Location, overrides: Mapping[str, Any]) -> dict[str, Any]:
        settings = super()._settings(location, overrides)
        for name in cls.vocab_files_names.keys() - overrides.keys():  # no checkpoint names the file that is read
            settings.pop(name, None)
        if any(location.fetch(file) is None for file in cls.vocab_files_names.values()) and location.fetch(TOKENIZER_FILE):
            for name in set(cls.decided_by_file) & settings.keys() - overrides.keys():
                settings["other_settings"][name] = settings.pop(name)
        return settings

    @classmethod
    def _from_location(cls, location: Location, settings: dict[str, Any]) -> Self:
        names = {name: file for name, file in cls.vocab_files_names.items() if file != TOKENIZER_FILE and name not in settings}
        paths = {name: location.fetch(file) for name, file in names.items()}
        missing = [names[name] for name, path in paths.items() if path is None]
        if not missing:
            return cls(**{**settings, **paths})
        file = location.fetch(TOKENIZER_FILE)
        if file is not None:
            return cls._from_tokenizer_json(file, settings)
        raise TokenizerError(
            f"`{location.name}` has no {shorten(missing)}, which `{cls.__name__}` is made of, and no `{TOKENIZER_FILE}` either. "
            "Save the tokenizer there with `save_pretrained`, or name the folder that has its files."
        )

    @classmethod
    def _from_tokenizer_json(cls, path: Path, settings: dict[str, Any]) -> Self:
        """Make the tokenizer of a `tokenizer.json`, where the vocabulary's own files are not there."""
        raise TokenizerError(
            f"`{cls.__name__}` is not made of `{path}`, but of {shorten(cls.vocab_files_names.values())}. The fast tokenizer "
            "reads it: `AutoTokenizer.from_pretrained(...)` without `use_fast=False`."
        )

    def _save_vocabulary(self, folder: Path) -> list[Path]:
        written = [Path(path) for path in self.save_vocabulary(str(folder))]
        # an older one would be believed before the files that were just written
        (folder / TOKENIZER_FILE).unlink(missing_ok=True)
        return written

    def _saved_settings(self) -> dict[str, Any]:
        decoder = {str(index): token.to_dict() for index, token in self.added_tokens_decoder.items()}
        return {**super()._saved_settings(), "added_tokens_decoder": decoder}
