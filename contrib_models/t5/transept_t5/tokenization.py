"""T5's tokenizers: Unigram over a SentencePiece model (Raffel et al. 2019, https://arxiv.org/abs/1910.10683), with sentinel tokens
`<extra_id_0>`, `<extra_id_1>`, … for spans that are left out; in plain Python and over the `tokenizers` library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from transept_tokenizers.aligned_text import AlignedText
from transept_tokenizers.backends import unigram_backend
from transept_tokenizers.fast import PreTrainedTokenizerFast
from transept_tokenizers.sentencepiece_model import SentencePieceModel
from transept_tokenizers.tokenization import PreTrainedTokenizerBase
from transept_tokenizers.unicode_classes import is_white_space
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

__all__ = ["T5Tokenizer", "T5TokenizerFast"]

_SPECIAL = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_FILES = {"vocab_file": "spiece.model"}
_SENTINEL = re.compile(r"<extra_id_(\d+)>")


class Sentinels(PreTrainedTokenizerBase):
    """The part of T5's tokenizers that knows the sentinel tokens."""

    def get_sentinel_tokens(self) -> list[str]:
        """The sentinel tokens, `<extra_id_0>` first."""
        found = {int(match[1]): match[0] for match in map(_SENTINEL.fullmatch, self.all_special_tokens) if match}
        return [found[number] for number in sorted(found)]

    def get_sentinel_token_ids(self) -> list[int]:
        """Ids of `get_sentinel_tokens`."""
        return list(self.convert_tokens_to_ids(self.get_sentinel_tokens()))


def _with_sentinels(settings: dict[str, Any], extra_ids: int) -> dict[str, Any]:
    """The settings with the sentinels among the special tokens.

    Raises:
        TokenizerError: special tokens that have another number of sentinels.
    """
    if extra_ids < 0:
        raise TokenizerError(f"`extra_ids` is {extra_ids}: give the number of sentinel tokens, 0 or more.")
    given = settings.pop("additional_special_tokens", None) or settings.pop("extra_special_tokens", None) or []
    settings.pop("extra_special_tokens", None)
    if isinstance(given, dict):  # special tokens with names of their own
        settings, given = {**settings, **given}, []
    named = [token for token in given if _SENTINEL.fullmatch(_content(token))]
    if named and extra_ids and len(named) != extra_ids:
        raise TokenizerError(
            f"`extra_ids` is {extra_ids} and the special tokens have {len(named)} sentinels (`<extra_id_0>`, …): give as many, or "
            "leave one of the two out."
        )
    sentinels = [] if named else [f"<extra_id_{number}>" for number in range(extra_ids)]
    return {**settings, "extra_special_tokens": [*given, *sentinels]}


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _scored_pieces(model: SentencePieceModel, extra_ids: int) -> list[tuple[str, float]]:
    """Pieces with their scores in the order of ids: the model's own, then the sentinels, the last one first."""
    pieces = [(piece.text, piece.score) for piece in model.pieces]
    there = {text for text, _ in pieces}
    sentinels = (f"<extra_id_{number}>" for number in reversed(range(extra_ids)))
    return pieces + [(sentinel, 0.0) for sentinel in sentinels if sentinel not in there]


class T5Tokenizer(Sentinels, UnigramTokenizer):
    """T5's tokenizer in plain Python.

    Args:
        vocab_file: `spiece.model`, a SentencePiece Unigram model.
        extra_ids: number of sentinel tokens, which follow the model's pieces, the last one first.
        legacy: None or True: a text between added tokens is read as if a space came before it. False: only the text that all
            begins with is.
        vocab, unk_id, byte_fallback, charsmap: as in `UnigramTokenizer`; sentinels are among the pieces.
        settings: arguments of `PreTrainedTokenizer`.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, a damaged one, or one of another kind.
    """

    decided_by_file = ("legacy",)

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        extra_ids: int = 100,
        legacy: bool | None = None,
        vocab: Sequence[tuple[str, float]] | None = None,
        unk_id: int = 2,
        **settings: Any,
    ) -> None:
        self.extra_ids = extra_ids
        self.legacy = legacy
        super().__init__(vocab_file, vocab, unk_id, **_with_sentinels({**_SPECIAL, **settings}, extra_ids))

    def _scored(self, model: SentencePieceModel) -> list[tuple[str, float]]:
        return _scored_pieces(model, self.extra_ids)

    def _is_of_the_model(self, piece: str) -> bool:
        return not _SENTINEL.fullmatch(piece)

    def _normalize(self, text: AlignedText) -> AlignedText:
        text = super()._normalize(text)
        return text if self.legacy is not False else _single_spaces(text)

    def _spaced_words(self, text: AlignedText) -> list[AlignedText]:
        if self.legacy is not False:
            return super()._spaced_words(text)
        text = AlignedText(text.text.replace(" ", META_SPACE), text.spans)
        begins_all = text.spans[0][0] == 0 and not text.text.startswith(META_SPACE)
        return [text.prepended(META_SPACE) if begins_all else text]

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None) -> list[int]:
        """`A </s>`, or `A </s> B </s>`."""
        last = self.eos_token_id
        if last is None:
            raise TokenizerError(
                "T5's inputs end with `eos_token`, which is not set: set it, or pass `add_special_tokens=False`."
            )
        return [*token_ids_0, last, *([] if token_ids_1 is None else [*token_ids_1, last])]

    def _saved_settings(self) -> dict[str, Any]:
        return {**super()._saved_settings(), "extra_ids": self.extra_ids, "legacy": self.legacy}

    @classmethod
    def _from_tokenizer_json(cls, path: Path, settings: dict[str, Any]) -> Self:
        value = read_tokenizer_json(path, "Unigram")
        rules = parts_of(value.get("normalizer"), "normalizers")
        words = parts_of(value.get("pre_tokenizer"), "pretokenizers")
        charsmap = b""
        if rules and rules[0].get("type") == "Precompiled":
            charsmap = written_charsmap(rules.pop(0), path)
        kinds = tuple(str(part.get("type")) for part in (*rules, *words))
        scheme = str(words[-1].get("prepend_scheme", "always")) if words else ""
        legacy = {(("WhitespaceSplit", "Metaspace"), "always"): True, (("Strip", "Replace", "Metaspace"), "first"): False}
        if (kinds, scheme) not in legacy:
            return super()._from_tokenizer_json(path, settings)
        model = value["model"]
        vocab = scored_pieces(model, path)
        inside = {
            "vocab": vocab,
            "unk_id": model.get("unk_id") or 0,
            "byte_fallback": bool(model.get("byte_fallback")),
            "charsmap": charsmap,
            "legacy": legacy[kinds, scheme],
            "extra_ids": sum(_SENTINEL.fullmatch(piece) is not None for piece, _ in vocab),
        }
        return cls(**{**inside, **settings, "added_tokens_decoder": added_tokens(value, settings)})


def _single_spaces(text: AlignedText) -> AlignedText:
    """Without spaces at the end, and with one space sign for several spaces."""
    end = len(text)
    while end and is_white_space(text.text[end - 1]):
        end -= 1
    made, spans, start = [], [], 0
    for match in re.finditer(" {2,}", text.text[:end]):
        made += [text.text[start : match.start()], META_SPACE]
        spans += [*text.spans[start : match.start()], text.spans[match.end() - 1]]
        start = match.end()
    return AlignedText("".join([*made, text.text[start:end]]), spans + text.spans[start:end])


class T5TokenizerFast(Sentinels, PreTrainedTokenizerFast):
    """T5's tokenizer over the `tokenizers` library.

    A `tokenizer.json` decides; without one, the backend is made of `spiece.model`.

    Args:
        vocab_file, extra_ids, legacy: as in `T5Tokenizer`. With a `tokenizer.json`, the sentinels are those that it has.
        settings: arguments of `PreTrainedTokenizerFast`.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, a damaged one, or one of another kind.
    """

    vocab_files_names = _FILES
    decided_by_file = ("legacy", "extra_ids")

    def __init__(
        self, vocab_file: str | Path | None = None, extra_ids: int | None = None, legacy: bool | None = None, **settings: Any
    ) -> None:
        settings = {**_SPECIAL, **settings}
        if settings.get("tokenizer_file") is not None or settings.get("tokenizer_object") is not None:
            if legacy is not None:
                raise TokenizerError("`legacy` is a matter of how a `tokenizer.json` was made, and there is one: leave it out.")
            super().__init__(**settings)
            listed = {*self.extra_special_tokens}
            mine = [token for token in self.added_tokens_encoder if _SENTINEL.fullmatch(token)]
            self.extra_special_tokens = [*self.extra_special_tokens, *sorted({*mine} - listed, key=_number)]
            self.extra_ids = len(mine)
            if extra_ids not in (None, self.extra_ids):
                raise TokenizerError(
                    f"`extra_ids` is {extra_ids}, and the `tokenizer.json` has {self.extra_ids} sentinel tokens."
                )
            self.legacy = None
            return
        self.extra_ids = 100 if extra_ids is None else extra_ids
        self.legacy = legacy
        settings = _with_sentinels(settings, self.extra_ids)
        model = read_unigram(type(self), vocab_file)
        backend = unigram_backend(
            _scored_pieces(model, self.extra_ids),
            unk_id=model.unk_id,
            byte_fallback=model.byte_fallback,
            charsmap=model.charsmap,
            prefix_every_text=legacy is not False,
        )
        decoder = {
            **marked_tokens(model),
            **{int(i): token for i, token in (settings.pop("added_tokens_decoder", None) or {}).items()},
        }
        super().__init__(tokenizer_object=backend, copy_tokenizer=False, added_tokens_decoder=decoder, **settings)
        self._set_template("$A eos_token", "$A eos_token $B:0 eos_token", eos_token=self.eos_token)

    def _saved_settings(self) -> dict[str, Any]:
        mine = {"extra_ids": self.extra_ids} | ({} if self.legacy is None else {"legacy": self.legacy})
        return {**super()._saved_settings(), **mine}


def _number(sentinel: str) -> int:
    return int(sentinel.removeprefix("<extra_id_").removesuffix(">"))
