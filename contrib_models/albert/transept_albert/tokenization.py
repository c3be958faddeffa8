"""ALBERT's tokenizers: Unigram over a SentencePiece model, `[CLS] … [SEP]` around a text (https://arxiv.org/abs/1909.11942); in
plain Python and over the `tokenizers` library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from transept_tokenizers.aligned_text import AlignedText
from transept_tokenizers.backends import unigram_backend
from transept_tokenizers.fast import PreTrainedTokenizerFast
from transept_tokenizers.unicode_classes import compatibly_decomposed, is_mark, is_white_space
from transept_tokenizers.unigram import META_SPACE
from transept_tokenizers.unigram_tokenizer import (
    UnigramTokenizer,
    marked_tokens,
    parts_of,
    read_unigram,
    scored_pieces,
    written_charsmap,
)
from transept_tokenizers.vocabulary_files import added_tokens, read_tokenizer_json

from transept.errors import TokenizerError

__all__ = ["AlbertTokenizer", "AlbertTokenizerFast"]

_SPECIAL = {
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
    "unk_token": "<unk>",
    "sep_token": "[SEP]",
    "pad_token": "<pad>",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_FLAGS = ("do_lower_case", "keep_accents", "add_prefix_space")
_INPUTS = ["input_ids", "attention_mask"]
_QUOTES = ("``", "''")


class AlbertTokenizer(UnigramTokenizer):
    """ALBERT's tokenizer in plain Python.

    Args:
        vocab_file: `spiece.model`, a SentencePiece Unigram model.
        do_lower_case: lowercase the text.
        keep_accents: leave accents on letters; else the text is decomposed for compatibility and loses them.
        add_prefix_space: put a sign for a space before each word, as in training.
        vocab, unk_id, charsmap: as in `UnigramTokenizer`.
        settings: arguments of `PreTrainedTokenizer`.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, a damaged one, or one of another kind.
    """

    model_input_names = _INPUTS
    decided_by_file = _FLAGS

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        do_lower_case: bool = True,
        keep_accents: bool = False,
        add_prefix_space: bool = True,
        vocab: Sequence[tuple[str, float]] | None = None,
        unk_id: int = 1,
        charsmap: bytes = b"",
        **settings: Any,
    ) -> None:
        self.do_lower_case = do_lower_case
        self.keep_accents = keep_accents
        self.add_prefix_space = add_prefix_space
        super().__init__(vocab_file, vocab, unk_id, charsmap=charsmap, **{**_SPECIAL, **settings})

    def _normalize(self, text: AlignedText) -> AlignedText:
        for quote in _QUOTES:
            text = text.replaced(quote, '"')
        if not self.keep_accents and not text.text.isascii():
            text = text.rewritten(compatibly_decomposed(text.text)).mapped(lambda each: "" if is_mark(each) else each)
        if self.do_lower_case:
            text = text.mapped(str.lower)  # one by one: a sigma is the same wherever it stands
        return super()._normalize(text)

    def _spaced_words(self, text: AlignedText) -> list[AlignedText]:
        return super()._spaced_words(text) if self.add_prefix_space else list(text.words(is_white_space))

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """`[CLS] A [SEP]`, or `[CLS] A [SEP] B [SEP]`."""
        first, last = self.cls_token_id, self.sep_token_id
        if first is None or last is None:
            raise TokenizerError(
                "ALBERT's inputs need a `cls_token` and a `sep_token`: set them, or pass `add_special_tokens=False`."
            )
        return [first, *token_ids_0, last, *([] if token_ids_1 is None else [*token_ids_1, last])]

    def create_token_type_ids_from_sequences(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """0 for the first text with its special tokens, 1 for the second."""
        return [0] * (len(token_ids_0) + 2) + ([] if token_ids_1 is None else [1] * (len(token_ids_1) + 1))

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Pieces joined, with spaces where they stand for them."""
        if self.add_prefix_space:
            return super().convert_tokens_to_string(tokens)
        return "".join(tokens).replace(META_SPACE, " ")

    def _saved_settings(self) -> dict[str, Any]:
        return {**super()._saved_settings(), **{name: getattr(self, name) for name in _FLAGS}}

    @classmethod
    def _from_tokenizer_json(cls, path: Path, settings: dict[str, Any]) -> Self:
        value = read_tokenizer_json(path, "Unigram")
        rules = parts_of(value.get("normalizer"), "normalizers")
        flags = _flags_of(rules, parts_of(value.get("pre_tokenizer"), "pretokenizers"))
        special = {**_SPECIAL, **settings}
        around = [str(special["cls_token"]), "A", str(special["sep_token"]), "B", str(special["sep_token"])]
        if flags is None or value["model"].get("byte_fallback") or _frame(value.get("post_processor")) != around:
            return super()._from_tokenizer_json(path, settings)
        compiled = next((written_charsmap(rule, path) for rule in rules if rule.get("type") == "Precompiled"), b"")
        inside = {
            **flags,
            "vocab": scored_pieces(value["model"], path),
            "unk_id": value["model"].get("unk_id") or 0,
            "charsmap": compiled,
        }
        return cls(**{**inside, **settings, "added_tokens_decoder": added_tokens(value, settings)})


def _flags_of(rules: Sequence[dict[str, Any]], words: Sequence[dict[str, Any]]) -> dict[str, bool] | None:
    """The settings that parts of a `tokenizer.json` stand for; None where they do anything else."""
    steps = [
        str(rule.get("type")) if rule.get("type") != "Replace" else str(rule.get("pattern", {}).get("String", " "))
        for rule in rules
    ]
    keep, lower = "NFKD" not in steps, "Lowercase" in steps
    usual = [*_QUOTES, *([] if keep else ["NFKD", "StripAccents"]), *(["Lowercase"] if lower else [])]
    # words are cut at every space afterwards, so joining spaces changes nothing
    rest = [step for step in steps[len(usual) :] if step not in ("Precompiled", " ")]
    cut = [str(part.get("type")) for part in words]
    if steps[: len(usual)] != usual or rest or cut != ["WhitespaceSplit", "Metaspace"]:
        return None
    scheme = words[-1].get("prepend_scheme", "always" if words[-1].get("add_prefix_space", True) else "never")
    if scheme not in ("always", "never"):
        return None
    return {"do_lower_case": lower, "keep_accents": keep, "add_prefix_space": scheme == "always"}


def _frame(processor: Any) -> list[str]:
    """The tokens and texts in a pair's template, in their order."""
    if not isinstance(processor, dict) or processor.get("type") != "TemplateProcessing":
        return []
    names = [str(part.get("id")) for piece in processor.get("pair") or () for part in piece.values()]
    tokens = {name: each["tokens"][0] for name, each in (processor.get("special_tokens") or {}).items()}
    return [tokens.get(name, name) for name in names]


class AlbertTokenizerFast(PreTrainedTokenizerFast):
    """ALBERT's tokenizer over the `tokenizers` library.

    A `tokenizer.json` decides; without one, the backend is made of `spiece.model`.

    Args:
        vocab_file: `spiece.model`.
        do_lower_case, keep_accents, add_prefix_space: as in `AlbertTokenizer`; None: as `tokenizer.json` has it.
        settings: arguments of `PreTrainedTokenizerFast`.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, a damaged one, one of another kind, or a setting for a `tokenizer.json`
            that changes texts in a way of its own.
    """

    vocab_files_names = UnigramTokenizer.vocab_files_names
    model_input_names = _INPUTS
    decided_by_file = _FLAGS

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        do_lower_case: bool | None = None,
        keep_accents: bool | None = None,
        add_prefix_space: bool | None = None,
        **settings: Any,
    ) -> None:
        settings = {**_SPECIAL, **settings}
        flags = {"do_lower_case": do_lower_case, "keep_accents": keep_accents, "add_prefix_space": add_prefix_space}
        given = {name: value for name, value in flags.items() if value is not None}
        if settings.get("tokenizer_file") is not None or settings.get("tokenizer_object") is not None:
            super().__init__(**settings)
            if given:
                self._set_parts(self._tokenizer, {**self._flags(), **given})
            return
        model = read_unigram(type(self), vocab_file)
        pieces = [(piece.text, piece.score) for piece in model.pieces]
        backend = unigram_backend(pieces, unk_id=model.unk_id, charsmap=model.charsmap)
        usual = {"do_lower_case": True, "keep_accents": False, "add_prefix_space": True}
        self._set_parts(backend, {**usual, **given})
        listed = {int(index): token for index, token in (settings.pop("added_tokens_decoder", None) or {}).items()}
        decoder = {**marked_tokens(model), **listed}
        super().__init__(**{**settings, "tokenizer_object": backend, "copy_tokenizer": False, "added_tokens_decoder": decoder})
        around = {"cls_token": self.cls_token, "sep_token": self.sep_token}
        self._set_template("cls_token $A sep_token", "cls_token $A sep_token $B:1 sep_token:1", **around)

    def _flags(self) -> dict[str, bool]:
        flags = _flags_of(
            _states(self._tokenizer.normalizer, "normalizers"), _states(self._tokenizer.pre_tokenizer, "pretokenizers")
        )
        if flags is None:
            raise TokenizerError(
                "The `tokenizer.json` changes texts in a way of its own, which knows no `do_lower_case`, `keep_accents` or "
                "`add_prefix_space`: leave them out."
            )
        return flags

    def _set_parts(self, backend: Tokenizer, flags: dict[str, bool]) -> None:
        """Change how the backend reads texts; the model's own rules stay."""
        rules: list[normalizers.Normalizer] = [normalizers.Replace(quote, '"') for quote in _QUOTES]
        rules += [] if flags["keep_accents"] else [normalizers.NFKD(), normalizers.StripAccents()]
        rules += [normalizers.Lowercase()] if flags["do_lower_case"] else []
        rules += _precompiled(backend.normalizer)
        scheme = "always" if flags["add_prefix_space"] else "never"
        spaces = pre_tokenizers.Metaspace(replacement=META_SPACE, prepend_scheme=scheme)
        backend.normalizer = normalizers.Sequence(rules)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])
        backend.decoder = decoders.Metaspace(replacement=META_SPACE, prepend_scheme=scheme)

    @property
    def do_lower_case(self) -> bool:
        """Whether texts are lowercased."""
        return self._flags()["do_lower_case"]

    @property
    def keep_accents(self) -> bool:
        """Whether letters keep their accents."""
        return self._flags()["keep_accents"]

    def _saved_settings(self) -> dict[str, Any]:
        rules, words = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        return {
            **super()._saved_settings(),
            **(_flags_of(_states(rules, "normalizers"), _states(words, "pretokenizers")) or {}),
        }


def _states(part: Any, name: str) -> list[dict[str, Any]]:
    """A backend's part, or the parts that it is made of, as `tokenizer.json` has them."""
    return [] if part is None else parts_of(json.loads(part.__getstate__()), name)


def _precompiled(part: Any) -> Iterable[normalizers.Normalizer]:
    """The rules of the model's own in a backend's normalizer."""
    several = part if isinstance(part, normalizers.Sequence) else [] if part is None else [part]
    return [rule for rule in several if isinstance(rule, normalizers.Precompiled)]
