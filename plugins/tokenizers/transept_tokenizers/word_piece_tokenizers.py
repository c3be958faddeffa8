"""Tokenizers of `vocab.txt`: BERT's WordPiece (Devlin et al. 2018, https://arxiv.org/abs/1810.04805) in plain Python and over the
`tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from transept.errors import TokenizerError

from .aligned_text import AlignedText
from .backends import word_piece_backend
from .fast import PreTrainedTokenizerFast
from .slow import PreTrainedTokenizer
from .vocabulary_files import (
    added_tokens,
    checked_vocabulary,
    read_tokenizer_json,
    read_vocabulary_lines,
    write_vocabulary_lines,
)
from .wordpiece import BasicTokenizer, WordPiece, join_word_pieces

__all__ = ["WordPieceTokenizer", "WordPieceTokenizerFast"]

_SPECIAL = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_FILES = {"vocab_file": "vocab.txt"}
_FLAGS = ("do_lower_case", "tokenize_chinese_chars", "strip_accents")
_INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def _vocabulary(
    kind: type, vocab: Mapping[str, int] | str | Path | None, vocab_file: str | Path | None, unk_token: Any
) -> dict[str, int]:
    """The vocabulary that was given, as a mapping or by a file."""
    if isinstance(vocab, Mapping):
        tokens = checked_vocabulary(dict(vocab), "vocab")
    elif vocab is not None or vocab_file is not None:
        tokens = read_vocabulary_lines(vocab if vocab is not None else vocab_file)  # type: ignore[arg-type]
    else:
        raise TokenizerError(
            f"A `{kind.__name__}` is made of a `vocab_file` (`vocab.txt`) or a `vocab`; `from_pretrained` finds it."
        )
    if str(unk_token) not in tokens:
        raise TokenizerError(f"The vocabulary ({vocab_file or 'vocab'}) has no `{unk_token}`, which unknown words need.")
    return tokens


class WordPieceTokenizer(PreTrainedTokenizer):
    """WordPiece in plain Python, with `[CLS] … [SEP]` around a text.

    Args:
        vocab_file: `vocab.txt`, a token a line.
        do_lower_case: lowercase the text.
        do_basic_tokenize: clean and cut the text as `BasicTokenizer` does; else words are what stands between spaces.
        never_split: words that are neither changed nor cut at punctuation.
        tokenize_chinese_chars: each CJK ideograph is a word.
        strip_accents: drop accents; None: where the text is lowercased.
        vocab: the vocabulary itself, or a path as `vocab_file`.
        settings: arguments of `PreTrainedTokenizer`.

    Raises:
        TokenizerError: no vocabulary, or one without `unk_token`.
    """

    vocab_files_names = _FILES
    model_input_names = _INPUTS
    decided_by_file = _FLAGS

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        do_lower_case: bool = True,
        do_basic_tokenize: bool = True,
        never_split: Iterable[str] | None = None,
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        vocab: Mapping[str, int] | str | Path | None = None,
        **settings: Any,
    ) -> None:
        settings = {**_SPECIAL, **settings}
        self.vocab = _vocabulary(type(self), vocab, vocab_file, settings["unk_token"])
        self.do_lower_case = do_lower_case
        self.do_basic_tokenize = do_basic_tokenize
        self.basic_tokenizer = BasicTokenizer(do_lower_case, never_split or (), tokenize_chinese_chars, strip_accents)
        self.wordpiece_tokenizer = WordPiece(self._vocab, str(settings["unk_token"]))
        super().__init__(**settings)

    def _normalize(self, text: AlignedText) -> AlignedText:
        return self.basic_tokenizer.normalized(text) if self.do_basic_tokenize else text

    def _pre_tokenize(self, text: AlignedText) -> Iterable[AlignedText]:
        return self.basic_tokenizer.words(text) if self.do_basic_tokenize else text.words(str.isspace)

    def _word_pieces(self, word: str) -> list[tuple[str, int, int]]:
        if word in self.basic_tokenizer.never_split:
            return [(word, 0, len(word))]
        return self.wordpiece_tokenizer.pieces(word)

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """`[CLS] A [SEP]`, or `[CLS] A [SEP] B [SEP]`."""
        first, last = self.cls_token_id, self.sep_token_id
        if first is None or last is None:
            raise TokenizerError(
                f"`{type(self).__name__}` puts a `cls_token` and a `sep_token` around texts: set them, or pass "
                "`add_special_tokens=False`."
            )
        return [first, *token_ids_0, last, *([] if token_ids_1 is None else [*token_ids_1, last])]

    def create_token_type_ids_from_sequences(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """0 for the first text with its special tokens, 1 for the second."""
        return [0] * (len(token_ids_0) + 2) + ([] if token_ids_1 is None else [1] * (len(token_ids_1) + 1))

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Pieces joined to words, words with spaces between them."""
        return join_word_pieces(tokens)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write `vocab.txt`."""
        name = f"{filename_prefix}-vocab.txt" if filename_prefix else "vocab.txt"
        return (str(write_vocabulary_lines(Path(save_directory) / name, self._vocab)),)

    def _saved_settings(self) -> dict[str, Any]:
        basic = self.basic_tokenizer
        return {
            **super()._saved_settings(),
            "do_lower_case": self.do_lower_case,
            "do_basic_tokenize": self.do_basic_tokenize,
            "never_split": sorted(basic.never_split) or None,
            "tokenize_chinese_chars": basic.tokenize_chinese_chars,
            "strip_accents": basic.strip_accents,
        }

    @classmethod
    def _from_tokenizer_json(cls, path: Path, settings: dict[str, Any]) -> Self:
        value = read_tokenizer_json(path, "WordPiece")
        normalizer, words, model = value.get("normalizer") or {}, value.get("pre_tokenizer") or {}, value["model"]
        usual = normalizer.get("type") == "BertNormalizer" and normalizer.get("clean_text") is True
        if not usual or words.get("type") != "BertPreTokenizer" or model.get("continuing_subword_prefix", "##") != "##":
            return super()._from_tokenizer_json(path, settings)
        inside = {
            "do_lower_case": normalizer.get("lowercase"),
            "tokenize_chinese_chars": normalizer.get("handle_chinese_chars"),
            "strip_accents": normalizer.get("strip_accents"),
            "vocab": checked_vocabulary(model.get("vocab"), str(path)),
        }
        return cls(**{**inside, **settings, "added_tokens_decoder": added_tokens(value, settings)})


class WordPieceTokenizerFast(PreTrainedTokenizerFast):
    """WordPiece over the `tokenizers` library.

    A `tokenizer.json` decides; without one, the backend is made of `vocab.txt`.

    Args:
        vocab_file: `vocab.txt`, a token a line.
        do_lower_case, tokenize_chinese_chars, strip_accents: as in `WordPieceTokenizer`; None: as `tokenizer.json` has it.
        vocab: the vocabulary itself, or a path as `vocab_file`.
        settings: arguments of `PreTrainedTokenizerFast`.

    Raises:
        TokenizerError: no vocabulary, one without `unk_token`, or a setting that the backend's normalizer does not have.
    """

    vocab_files_names = _FILES
    model_input_names = _INPUTS
    decided_by_file = _FLAGS

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        do_lower_case: bool | None = None,
        tokenize_chinese_chars: bool | None = None,
        strip_accents: bool | None = None,
        vocab: Mapping[str, int] | str | Path | None = None,
        **settings: Any,
    ) -> None:
        settings = {**_SPECIAL, **settings}
        flags = {"lowercase": do_lower_case, "handle_chinese_chars": tokenize_chinese_chars, "strip_accents": strip_accents}
        given = {name: value for name, value in flags.items() if value is not None}
        if settings.get("tokenizer_file") is not None or settings.get("tokenizer_object") is not None:
            super().__init__(**settings)
            self._change_normalizer(given)
            return
        other = settings.get("other_settings") or {}
        if other.get("do_basic_tokenize") is False or other.get("never_split"):
            raise TokenizerError(
                "`do_basic_tokenize=False` and `never_split` need the tokenizer in Python: pass `use_fast=False`."
            )
        backend = word_piece_backend(
            _vocabulary(type(self), vocab, vocab_file, settings["unk_token"]), unk_token=str(settings["unk_token"])
        )
        super().__init__(tokenizer_object=backend, copy_tokenizer=False, **settings)
        self._change_normalizer(given)
        around = {"cls_token": self.cls_token, "sep_token": self.sep_token}
        self._set_template("cls_token $A sep_token", "cls_token $A sep_token $B:1 sep_token:1", **around)

    def _change_normalizer(self, flags: Mapping[str, bool]) -> None:
        normalizer = self._tokenizer.normalizer
        if any(not hasattr(normalizer, name) for name in flags):
            raise TokenizerError(
                f"The `tokenizer.json` has a {type(normalizer).__name__}, which knows no `do_lower_case`, `strip_accents` or "
                "`tokenize_chinese_chars`: leave them out."
            )
        for name, value in flags.items():
            setattr(normalizer, name, value)
        if flags:
            self._tokenizer.normalizer = normalizer  # so that added tokens are normalized anew

    @property
    def do_lower_case(self) -> bool:
        """Whether texts are lowercased."""
        return bool(getattr(self._tokenizer.normalizer, "lowercase", False))

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write `vocab.txt`, from which alone the tokenizer can be made again."""
        name = f"{filename_prefix}-vocab.txt" if filename_prefix else "vocab.txt"
        learned = self._tokenizer.get_vocab(with_added_tokens=False)
        return (str(write_vocabulary_lines(Path(save_directory) / name, learned)),)

    def _saved_settings(self) -> dict[str, Any]:
        normalizer = self._tokenizer.normalizer
        inside = {
            "lowercase": "do_lower_case",
            "handle_chinese_chars": "tokenize_chinese_chars",
            "strip_accents": "strip_accents",
        }
        known = {setting: getattr(normalizer, name) for name, setting in inside.items() if hasattr(normalizer, name)}
        return {**super()._saved_settings(), **known}
