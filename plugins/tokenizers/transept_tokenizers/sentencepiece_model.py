"""What a SentencePiece model file says (`spiece.model`, `tokenizer.model`): a protocol buffer, read and written field by field.

Only what tokenizers need is kept: pieces with their scores and kinds, the algorithm, the normalization rules
(sentencepiece_model.proto of https://github.com/google/sentencepiece).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from transept.errors import CorruptFileError, TokenizerError

__all__ = ["Piece", "PieceKind", "SentencePieceModel", "encoded_model", "read_sentencepiece_model"]

_MOST_BYTES = 256 << 20


class PieceKind(IntEnum):
    """What a piece is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(slots=True)
class Piece:
    """A piece of text, its log probability, its kind."""

    text: str
    score: float = 0.0
    kind: int = PieceKind.NORMAL


@dataclass(slots=True)
class SentencePieceModel:
    """A model, with the bytes that it was read from."""

    data: bytes
    pieces: list[Piece] = field(default_factory=list)
    algorithm: str = "unigram"
    byte_fallback: bool = False
    unk_id: int = 0
    charsmap: bytes = b""


_ALGORITHMS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
# field numbers of ModelProto, SentencePiece, TrainerSpec, NormalizerSpec
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _KIND = 1, 2, 3
_MODEL_TYPE, _VOCAB_SIZE, _BYTE_FALLBACK, _UNK_ID = 3, 4, 35, 40
_CHARSMAP = 2


def read_sentencepiece_model(path: Path) -> SentencePieceModel:
    """The model in a file.

    Raises:
        CorruptFileError: the file is damaged, or no SentencePiece model.
        TokenizerError: it is larger than any vocabulary.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise TokenizerError(f"`{path}` has {path.stat().st_size:,} bytes, more than any SentencePiece model: it is not read.")
    data = path.read_bytes()
    model = SentencePieceModel(data)
    try:
        for number, value in _fields(memoryview(data)):
            if number == _PIECES:
                model.pieces.append(_piece(value))
            elif number == _TRAINER:
                trainer = dict(_fields(value))
                model.algorithm = _ALGORITHMS[trainer.get(_MODEL_TYPE, 1)]
                model.byte_fallback = bool(trainer.get(_BYTE_FALLBACK, 0))
                model.unk_id = trainer.get(_UNK_ID, 0)
            elif number == _NORMALIZER:
                model.charsmap = bytes(dict(_fields(value)).get(_CHARSMAP, b""))
        texts = {piece.text for piece in model.pieces}
        if not model.pieces or len(texts) != len(model.pieces) or not 0 <= model.unk_id < len(model.pieces):
            raise ValueError("no pieces, the same piece twice, or an unknown piece that is none of them")
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise CorruptFileError(
            f"`{path}` is not a SentencePiece model, or is damaged ({error}). Download it again.", path=str(path)
        ) from error
    return model


def encoded_model(pieces: Sequence[Piece], *, unk_id: int, byte_fallback: bool, charsmap: bytes) -> bytes:
    """The file of a unigram model with these pieces and normalization rules."""
    trainer: dict[int, int | float | bytes] = {
        _MODEL_TYPE: 1,
        _VOCAB_SIZE: len(pieces),
        _BYTE_FALLBACK: int(byte_fallback),
        _UNK_ID: unk_id,
    }
    messages: list[tuple[int, dict[int, int | float | bytes]]] = [
        (_PIECES, {_TEXT: piece.text.encode("utf-8"), _SCORE: float(piece.score), _KIND: int(piece.kind)}) for piece in pieces
    ]
    messages += [(_TRAINER, trainer), (_NORMALIZER, {_CHARSMAP: charsmap})]
    return b"".join(_encoded(number, _message(fields)) for number, fields in messages)


def _message(fields: Mapping[int, int | float | bytes]) -> bytes:
    return b"".join(_encoded(number, value) for number, value in fields.items())


def _encoded(number: int, value: int | float | bytes) -> bytes:
    if isinstance(value, bytes):
        return _encoded_varint(number << 3 | 2) + _encoded_varint(len(value)) + value
    if isinstance(value, float):
        return _encoded_varint(number << 3 | 5) + struct.pack("<f", value)
    return _encoded_varint(number << 3) + _encoded_varint(value)


def _encoded_varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def _piece(message: memoryview) -> Piece:
    values = dict(_fields(message))
    piece = Piece(bytes(values.get(_TEXT, b"")).decode("utf-8"), values.get(_SCORE, 0.0), values.get(_KIND, 1))
    if not isinstance(piece.score, float) or not isinstance(piece.kind, int) or piece.score != piece.score:
        raise ValueError(f"piece {piece.text!r} has no proper score or kind")
    return piece


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: an int, a float, or a view of bytes.

    Encoding: https://protobuf.dev/programming-guides/encoding. Raises `ValueError` where the message ends too early.
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        wire = tag & 7
        value: Any
        if wire == 0:
            value, place = _varint(message, place)
        elif wire == 2:
            size, place = _varint(message, place)
            value, place = message[place : place + size], place + size
        elif wire == 5:
            (value,) = struct.unpack_from("<f", message, place)
            place += 4
        elif wire == 1:
            value, place = bytes(message[place : place + 8]), place + 8
        else:
            raise ValueError(f"wire type {wire}")
        if place > len(message):
            raise ValueError("it ends too early")
        yield tag >> 3, value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it ends too early")
        byte = message[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
    raise ValueError("a number without end")
