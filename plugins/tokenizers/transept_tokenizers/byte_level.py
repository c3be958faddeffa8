"""Tokenizers of `vocab.json` and `merges.txt`: byte-level BPE (Radford et al. 2019) in plain Python and over the `tokenizers`
library, bare as GPT-2 has it, or with the frame that RoBERTa and BART put around texts (https://arxiv.org/abs/1907.11692)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tokenizers import processors

from transept.errors import TokenizerError
from transept_tokenizers.tokenization.added_token import as_added_token

from .aligned_text import AlignedText
from .backends import byte_bpe_backend
from .byte_bpe import ByteBPE, byte_characters, byte_words, bytes_of_tokens, in_byte_characters
from .fast import PreTrainedTokenizerFast
from .slow import PreTrainedTokenizer
from .token_encoding import Token
from .unicode_classes import is_white_space
from .vocabulary_files import (
    added_tokens,
    checked_merges,
    checked_vocabulary,
    read_merges,
    read_tokenizer_json,
    read_vocabulary_json,
    write_merges,
    write_vocabulary_json,
)

__all__ = ["ByteLevelTokenizer", "ByteLevelTokenizerFast", "FramedByteLevelTokenizer", "FramedByteLevelTokenizerFast"]

_FILES = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}
_FRAME = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}

Vocabulary = Mapping[str, int] | str | Path
Merges = Sequence[Sequence[str]] | str | Path


def _vocabulary(kind: type, vocab: Vocabulary | None, merges: Merges | None) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges, each itself or by its file."""
    if vocab is None or merges is None:
        raise TokenizerError(
            f"A `{kind.__name__}` is made of a `vocab_file` (`vocab.json`) and a `merges_file` (`merges.txt`), or of `vocab` and "
            "`merges`; `from_pretrained` finds the files."
        )
    tokens = checked_vocabulary(dict(vocab), "vocab") if isinstance(vocab, Mapping) else read_vocabulary_json(vocab)
    if isinstance(merges, (str, Path)):
        return tokens, read_merges(merges, tokens)
    return tokens, checked_merges([(list(pair), f"merges[{place}]") for place, pair in enumerate(merges)], tokens)


class ByteLevelTokenizer(PreTrainedTokenizer):
    """Byte-level BPE in plain Python. A word with a space before it is another token than the same word without.

    A family's class has `default_special_tokens`, and reads out of a `tokenizer.json` what stands around texts in
    `_read_processor`.

    Args:
        vocab_file: `vocab.json`, ids by token.
        merges_file: `merges.txt`, a pair of pieces a line, the first learned first.
        errors: what decoding does with bytes that are no UTF-8, as in `bytes.decode`.
        add_prefix_space: read every text as if a space came before it.
        vocab, merges: what the files hold, or their paths.
        settings: arguments of `PreTrainedTokenizer`.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, or files that do not fit each other.
    """

    vocab_files_names = _FILES
    decided_by_file = ("add_prefix_space",)
    spaces_are_text = True
    default_special_tokens: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        merges_file: str | Path | None = None,
        errors: str = "replace",
        add_prefix_space: bool = False,
        vocab: Vocabulary | None = None,
        merges: Merges | None = None,
        **settings: Any,
    ) -> None:
        chosen = (vocab_file if vocab is None else vocab, merges_file if merges is None else merges)
        tokens, pairs = _vocabulary(type(self), *chosen)
        self.vocab = tokens
        self.bpe = ByteBPE(tokens, pairs)
        self.errors = errors
        self.add_prefix_space = add_prefix_space
        super().__init__(**{**self.default_special_tokens, **settings})

    def _pre_tokenize(self, text: AlignedText) -> Iterable[AlignedText]:
        if self.add_prefix_space and not text.text.startswith(" "):
            text = text.prepended(" ")
        for word in byte_words(text):
            yield word.mapped(in_byte_characters)

    def _word_pieces(self, word: str) -> list[tuple[str, int, int]]:
        return self.bpe.pieces(word)

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of the tokens' bytes."""
        return bytes_of_tokens(tokens).decode("utf-8", errors=self.errors)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write `vocab.json` and `merges.txt`."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        folder = Path(save_directory)
        return (
            str(write_vocabulary_json(folder / f"{prefix}vocab.json", self._vocab)),
            str(write_merges(folder / f"{prefix}merges.txt", list(self.bpe.ranks))),
        )

    def _saved_settings(self) -> dict[str, Any]:
        mine = {name: getattr(self, name) for name in ("errors", *self.decided_by_file)}
        return {**super()._saved_settings(), **mine}

    @classmethod
    def _from_tokenizer_json(cls, path: Path, settings: dict[str, Any]) -> Self:
        value = read_tokenizer_json(path, "BPE")
        words, model = value.get("pre_tokenizer") or {}, value["model"]
        around = cls._read_processor(value.get("post_processor") or {}, {**cls.default_special_tokens, **settings})
        odd = [
            model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
        ]
        usual = words.get("type") == "ByteLevel" and words.get("use_regex") is not False and not value.get("normalizer")
        if not usual or any(odd) or around is None:
            return super()._from_tokenizer_json(path, settings)
        listed = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges") or ()]
        inside = {
            "vocab": checked_vocabulary(model.get("vocab"), str(path)),
            "merges": listed,
            "add_prefix_space": bool(words.get("add_prefix_space")),
            **around,
        }
        return cls(**{**inside, **settings, "added_tokens_decoder": added_tokens(value, settings)})

    @classmethod
    def _read_processor(cls, processor: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The settings that a post-processor stands for; None where it does what this tokenizer cannot."""
        return {} if processor.get("type") in (None, "ByteLevel") else None


class ByteLevelTokenizerFast(PreTrainedTokenizerFast):
    """Byte-level BPE over the `tokenizers` library.

    A `tokenizer.json` decides; without one, the backend is made of `vocab.json` and `merges.txt`.

    Args:
        vocab_file, merges_file, vocab, merges: as in `ByteLevelTokenizer`.
        errors: "replace", the only way in which the library decodes.
        add_prefix_space: read every text as if a space came before it; None: as `tokenizer.json` has it.
        settings: arguments of `PreTrainedTokenizerFast`.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, files that do not fit each other, or a setting that the backend lacks.
    """

    vocab_files_names = _FILES
    decided_by_file = ("add_prefix_space",)
    default_special_tokens: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        merges_file: str | Path | None = None,
        errors: str = "replace",
        add_prefix_space: bool | None = None,
        vocab: Vocabulary | None = None,
        merges: Merges | None = None,
        **settings: Any,
    ) -> None:
        if errors != "replace":
            raise TokenizerError(f'`errors="{errors}"` needs the tokenizer in Python: pass `use_fast=False`.')
        settings = {**self.default_special_tokens, **settings}
        if settings.get("tokenizer_file") is None and settings.get("tokenizer_object") is None:
            chosen = (vocab_file if vocab is None else vocab, merges_file if merges is None else merges)
            tokens, pairs = _vocabulary(type(self), *chosen)
            backend = byte_bpe_backend(tokens, pairs, add_prefix_space=bool(add_prefix_space))
            super().__init__(**{**settings, "tokenizer_object": backend, "copy_tokenizer": False})
            self._frame_texts()
            return
        super().__init__(**settings)
        if add_prefix_space is not None and add_prefix_space != self.add_prefix_space:
            words = self._tokenizer.pre_tokenizer
            if not hasattr(words, "add_prefix_space"):
                raise TokenizerError(
                    f"The `tokenizer.json` cuts words by a {type(words).__name__}, which knows no `add_prefix_space`: leave it out."
                )
            words.add_prefix_space = add_prefix_space
            self._tokenizer.pre_tokenizer = words

    def _frame_texts(self) -> None:
        """Put special tokens around the texts of a backend that was made of vocabulary and merges."""

    @property
    def add_prefix_space(self) -> bool:
        """Whether every text is read as if a space came before it."""
        return bool(getattr(self._tokenizer.pre_tokenizer, "add_prefix_space", False))

    def _saved_settings(self) -> dict[str, Any]:
        return {**super()._saved_settings(), **{name: getattr(self, name) for name in self.decided_by_file}}


class FramedByteLevelTokenizer(ByteLevelTokenizer):
    """`ByteLevelTokenizer` with `<s> A </s>` for a text, and `<s> A </s></s> B </s>` for a pair; all of one type.

    Args:
        trim_offsets: the characters of a token are those of its word, without the space that is part of it.
        others: those of `ByteLevelTokenizer`.
    """

    decided_by_file = ("add_prefix_space", "trim_offsets")
    default_special_tokens = _FRAME

    def __init__(self, *files: Any, trim_offsets: bool = True, **settings: Any) -> None:
        self.trim_offsets = trim_offsets
        super().__init__(*files, **settings)

    def _finish_row(self, row: list[Token]) -> list[Token]:
        return [self._trimmed(place, token) for place, token in enumerate(row)] if self.trim_offsets else row

    def _trimmed(self, place: int, token: Token) -> Token:
        """A token whose characters leave out the spaces at its ends; one that `add_prefix_space` put there is none of them."""
        if token.span is None:
            return token
        start, end = token.span
        before, after = _spaces(token.text), _spaces(token.text[::-1])
        if before == 1 and self.add_prefix_space and (place == 0 or start == 0):  # the library's rule, in a later part too
            before = 0
        start = min(start + before, end)
        return token._replace(span=(start, max(end - after, start)))

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """`<s> A </s>`, or `<s> A </s></s> B </s>`."""
        first, last = self.cls_token_id, self.sep_token_id
        if first is None or last is None:
            raise TokenizerError(
                f"`{type(self).__name__}` puts a `cls_token` and a `sep_token` around texts: set them, or pass "
                "`add_special_tokens=False`."
            )
        return [first, *token_ids_0, last, *([] if token_ids_1 is None else [last, *token_ids_1, last])]

    @classmethod
    def _read_processor(cls, processor: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any] | None:
        around = [as_added_token(settings[name], name).content for name in ("cls_token", "sep_token")]
        if processor.get("type") != "RobertaProcessing" or [processor["cls"][0], processor["sep"][0]] != around:
            return None
        return {"trim_offsets": bool(processor.get("trim_offsets", True))}


class FramedByteLevelTokenizerFast(ByteLevelTokenizerFast):
    """`ByteLevelTokenizerFast` with the frame of `FramedByteLevelTokenizer`.

    Args:
        trim_offsets: as there; None: as `tokenizer.json` has it.
        others: those of `ByteLevelTokenizerFast`.
    """

    decided_by_file = ("add_prefix_space", "trim_offsets")
    default_special_tokens = _FRAME

    def __init__(self, *files: Any, trim_offsets: bool | None = None, **settings: Any) -> None:
        self._trim = trim_offsets
        super().__init__(*files, **settings)
        processor = self._tokenizer.post_processor
        if isinstance(processor, processors.RobertaProcessing):
            if trim_offsets is not None or processor.add_prefix_space != self.add_prefix_space:
                self._frame_texts()
        elif trim_offsets is not None:
            raise TokenizerError("The `tokenizer.json` frames texts in a way of its own, without `trim_offsets`: leave it out.")

    def _frame_texts(self) -> None:
        if self.cls_token is None or self.sep_token is None:
            raise TokenizerError(f"`{type(self).__name__}` puts a `cls_token` and a `sep_token` around texts: pass them.")
        ends = ((token, self.convert_tokens_to_ids(token)) for token in (self.sep_token, self.cls_token))
        self._tokenizer.post_processor = processors.RobertaProcessing(*ends, self.trim_offsets, self.add_prefix_space)

    @property
    def trim_offsets(self) -> bool:
        """Whether the characters of a token leave out the space that is part of it."""
        known = getattr(self._tokenizer.post_processor, "trim_offsets", True)
        return bool(known) if self._trim is None else self._trim


def _spaces(token: str) -> int:
    """How many spaces a token begins with, in byte characters or as they are."""
    return next((n for n, each in enumerate(token) if each != byte_characters()[32] and not is_white_space(each)), len(token))
