"""Tokenizers of `spiece.model`: SentencePiece Unigram (https://arxiv.org/abs/1804.10959, https://arxiv.org/abs/1808.06226), with
whatever a family does to a text before and puts around it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from transept.errors import CorruptFileError, TokenizerError
from transept.files import atomic_write_bytes
from transept_tokenizers.tokenization import AddedToken

from .aligned_text import AlignedText
from .charsmap import Charsmap
from .sentencepiece_model import Piece, PieceKind, SentencePieceModel, encoded_model, read_sentencepiece_model
from .slow import PreTrainedTokenizer
from .unicode_classes import is_white_space
from .unigram import META_SPACE, Unigram, join_bytes, join_meta_space

__all__ = ["UnigramTokenizer", "marked_tokens", "parts_of", "read_unigram", "scored_pieces", "written_charsmap"]

_WORDS = re.compile(f"{META_SPACE}[^{META_SPACE}]+|{META_SPACE}|[^{META_SPACE}]+")


def read_unigram(kind: type, vocab_file: str | Path | None) -> SentencePieceModel:
    """The model that a tokenizer of this kind is made of.

    Raises:
        TokenizerError, CorruptFileError: there is no file, or it is damaged or of another algorithm.
    """
    if vocab_file is None:
        raise TokenizerError(f"A `{kind.__name__}` is made of a `vocab_file` (`spiece.model`); `from_pretrained` finds it.")
    if not Path(vocab_file).is_file():
        raise TokenizerError(f"`{vocab_file}` is not there: give the path of a SentencePiece model.")
    model = read_sentencepiece_model(Path(vocab_file))
    if model.algorithm != "unigram":
        raise TokenizerError(
            f"`{vocab_file}` is a SentencePiece model of kind {model.algorithm}; a `{kind.__name__}` is made of a unigram model."
        )
    return model


def marked_tokens(model: SentencePieceModel) -> dict[int, AddedToken]:
    """The model's control pieces (special) and user-defined symbols (not special), which are found in a text as they are."""
    return {
        index: AddedToken(piece.text, special=piece.kind == PieceKind.CONTROL, normalized=False)
        for index, piece in enumerate(model.pieces)
        if piece.kind in (PieceKind.CONTROL, PieceKind.USER_DEFINED)
    }


def parts_of(value: Any, name: str) -> list[dict[str, Any]]:
    """The parts of a `tokenizer.json`'s normalizer or pre-tokenizer, one or a sequence of them under `name`."""
    parts = value.get(name, [value]) if isinstance(value, dict) else []
    return [part for part in parts if isinstance(part, dict)]


def written_charsmap(rule: Mapping[str, Any], path: Path) -> bytes:
    """The rules of a `Precompiled` normalizer. Raises: CorruptFileError"""
    try:
        return base64.b64decode(rule.get("precompiled_charsmap") or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise CorruptFileError(f"`{path}` has normalization rules that are not base64: {error}. Download it again.") from error


def scored_pieces(model: Mapping[str, Any], path: Path) -> list[tuple[str, float]]:
    """Pieces and scores of a `tokenizer.json`'s model, in the order of ids. Raises: CorruptFileError"""
    try:
        return [(str(piece), float(score)) for piece, score in model["vocab"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"`{path}` has no list of pieces with scores: {error!r}. Download it again.") from error


class UnigramTokenizer(PreTrainedTokenizer):
    """Unigram over a SentencePiece model, in plain Python. Each word has a space before it, whether the text has or not.

    Args:
        vocab_file: `spiece.model`, a SentencePiece Unigram model.
        vocab, unk_id, byte_fallback, charsmap: what the file holds, where there is none: (piece, score) in the order of ids,
            the unknown piece; whether it becomes bytes; normalization rules (`Charsmap`).
        settings: arguments of `PreTrainedTokenizer`.

    Raises:
        TokenizerError, CorruptFileError: no vocabulary, a damaged one, or one of another kind.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "spiece.model"}

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        vocab: Sequence[tuple[str, float]] | None = None,
        unk_id: int = 0,
        byte_fallback: bool = False,
        charsmap: bytes = b"",
        added_tokens_decoder: Mapping[Any, Any] | None = None,
        **settings: Any,
    ) -> None:
        marked: dict[Any, Any] = {}
        self._model_file: bytes | None = None
        if vocab is None:
            model = read_unigram(type(self), vocab_file)
            vocab = self._scored(model)
            unk_id, byte_fallback, charsmap = model.unk_id, model.byte_fallback, model.charsmap
            self._model_file, marked = model.data, dict(marked_tokens(model))
        self.unigram = Unigram(vocab, unk_id, byte_fallback)
        self.charsmap = Charsmap(charsmap) if charsmap else None
        self.vocab = self.unigram.ids
        given = {int(index): token for index, token in (added_tokens_decoder or {}).items()}
        super().__init__(added_tokens_decoder=marked | given, **settings)

    def _scored(self, model: SentencePieceModel) -> list[tuple[str, float]]:
        """Pieces with their scores in the order of ids: the model's."""
        return [(piece.text, piece.score) for piece in model.pieces]

    def _normalize(self, text: AlignedText) -> AlignedText:
        return text if self.charsmap is None else self.charsmap.normalized(text)

    def _spaced_words(self, text: AlignedText) -> list[AlignedText]:
        """What stands between spaces, with a sign for the space before it."""
        words = text.words(is_white_space)
        return [word if word.text.startswith(META_SPACE) else word.prepended(META_SPACE) for word in words]

    def _pre_tokenize(self, text: AlignedText) -> Iterable[AlignedText]:
        for word in self._spaced_words(text):
            for match in _WORDS.finditer(word.text):
                yield word.part(match.start(), match.end())

    def _word_pieces(self, word: str) -> list[tuple[str, int, int]]:
        return self.unigram.pieces(word)

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Pieces joined, with spaces where they stand for them."""
        return join_meta_space(join_bytes(tokens) if self.unigram.byte_fallback else list(tokens))

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write `spiece.model`: as it was read, or made anew of a `tokenizer.json`'s pieces."""
        data = self._model_file
        if data is None:
            vocab = self.unigram.scores.items()
            pieces = [Piece(text, score, self._kind(text)) for text, score in vocab if self._is_of_the_model(text)]
            rules = b"" if self.charsmap is None else self.charsmap.compiled
            unk_id, byte_fallback = self.unigram.unk_id, self.unigram.byte_fallback
            data = encoded_model(pieces, unk_id=unk_id, byte_fallback=byte_fallback, charsmap=rules)
        path = Path(save_directory) / (f"{filename_prefix}-spiece.model" if filename_prefix else "spiece.model")
        atomic_write_bytes(path, data)
        return (str(path),)

    def _is_of_the_model(self, piece: str) -> bool:
        """Whether a piece belongs into the file; others are put after its pieces when it is read."""
        return True

    def _kind(self, piece: str) -> PieceKind:
        index = self.unigram.ids[piece]
        if index == self.unigram.unk_id:
            return PieceKind.UNKNOWN
        if index in self._added.by_id:
            return PieceKind.CONTROL if self._added.by_id[index].special else PieceKind.USER_DEFINED
        return PieceKind.BYTE if self.unigram.byte_fallback and join_bytes([piece]) != [piece] else PieceKind.NORMAL
