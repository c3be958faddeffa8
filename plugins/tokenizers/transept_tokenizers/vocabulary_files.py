"""Files that hold a vocabulary: `vocab.txt`, `vocab.json` with `merges.txt`, and the same inside a `tokenizer.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transept.errors import CorruptFileError, TokenizerError
from transept.files import atomic_write_text, read_json

__all__ = [
    "added_tokens",
    "checked_merges",
    "checked_vocabulary",
    "read_merges",
    "read_tokenizer_json",
    "read_vocabulary_json",
    "read_vocabulary_lines",
    "write_merges",
    "write_vocabulary_json",
    "write_vocabulary_lines",
]

_MOST_BYTES = 256 << 20
_MOST_ID = (1 << 31) - 1


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise TokenizerError(f"`{path}` has {path.stat().st_size:,} bytes: too many for a vocabulary.")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"`{path}` is not UTF-8 text: {error}. Download it again.", path=str(path)) from error
    except OSError as error:
        raise TokenizerError(f"`{path}` cannot be read ({error.strerror}): give the path of a vocabulary file.") from error
    if not text.strip():
        raise CorruptFileError(f"`{path}` is empty. Download it again.", path=str(path))
    return text


def read_vocabulary_lines(path: str | Path) -> dict[str, int]:
    """`vocab.txt`: a token a line, the line's number (from 0) its id."""
    text = _read_text(Path(path))
    return {token: index for index, token in enumerate(text.removesuffix("\n").split("\n"))}


def write_vocabulary_lines(path: Path, vocab: Mapping[str, int]) -> Path:
    """Write `vocab.txt`.

    Raises:
        TokenizerError: ids with gaps, or a token with a line end, which the file cannot hold.
    """
    tokens = sorted(vocab, key=vocab.__getitem__)
    if [vocab[token] for token in tokens] != list(range(len(tokens))):
        raise TokenizerError(f"`{path.name}` counts its lines, and the vocabulary's ids have gaps: save the fast tokenizer.")
    if any("\n" in token or "\r" in token for token in tokens):
        raise TokenizerError(f"`{path.name}` has a token a line, and one of the vocabulary's has a line end in it.")
    atomic_write_text(path, "".join(f"{token}\n" for token in tokens))
    return path


def read_vocabulary_json(path: str | Path) -> dict[str, int]:
    """`vocab.json`: a token's id by token."""
    _read_text(Path(path))
    return checked_vocabulary(read_json(path), str(path))


def checked_vocabulary(value: Any, where: str) -> dict[str, int]:
    """A mapping of tokens to ids that are whole numbers from 0 up, each used once."""
    if not isinstance(value, dict) or not value:
        raise CorruptFileError(f"`{where}` has no vocabulary: a mapping of tokens to ids is expected.", path=where)
    for token, index in value.items():
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= _MOST_ID:
            raise CorruptFileError(
                f"`{where}` gives `{token}` the id `{index!r:.50}`: ids are whole numbers from 0 up.", path=where
            )
    if len(set(value.values())) != len(value):
        raise CorruptFileError(f"`{where}` gives two tokens the same id. Download it again.", path=where)
    return value


def write_vocabulary_json(path: Path, vocab: Mapping[str, int]) -> Path:
    """Write `vocab.json`, in the order of ids."""
    ordered = {token: vocab[token] for token in sorted(vocab, key=vocab.__getitem__)}
    atomic_write_text(path, json.dumps(ordered, ensure_ascii=False) + "\n")
    return path


def read_merges(path: str | Path, vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """`merges.txt`: a pair a line, the first learned first; a first line `#version` is left out.

    Raises:
        CorruptFileError: a line that is no pair, or a pair whose parts or result are not in the vocabulary.
    """
    lines = _read_text(Path(path)).split("\n")
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip("\r") or (number == 1 and line.startswith("#version")):
            continue
        pairs.append((line.removesuffix("\r").split(" "), f"{path}:{number}"))
    return checked_merges(pairs, vocab)


def checked_merges(pairs: Sequence[tuple[Any, str]], vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs, each with its place, whose parts and results the vocabulary has."""
    merges = []
    for pair, where in pairs:
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise CorruptFileError(
                f"`{where}` is not two pieces with a space between them. Download the file again.", path=where
            )
        left, right = pair
        for piece in (left, right, left + right):
            if piece not in vocab:
                raise CorruptFileError(
                    f"`{where}` merges `{left}` and `{right}`, and the vocabulary has no `{piece}`: the files are of different "
                    "tokenizers, or one is cut short.",
                    path=where,
                )
        merges.append((left, right))
    return merges


def write_merges(path: Path, merges: Sequence[tuple[str, str]]) -> Path:
    """Write `merges.txt`."""
    atomic_write_text(path, "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges))
    return path


def read_tokenizer_json(path: Path, algorithm: str) -> dict[str, Any]:
    """A `tokenizer.json` whose model is of that kind: its `model`, `normalizer`, `pre_tokenizer`, `added_tokens`, ….

    Raises:
        CorruptFileError: not an object with a model inside.
        TokenizerError: another algorithm's.
    """
    value = read_json(path)
    model = value.get("model") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(model, dict):
        raise CorruptFileError(f"`{path}` is not a tokenizer: it has no `model`. Download it again.", path=str(path))
    kind = model.get("type") or (
        "BPE" if "merges" in model else "WordPiece" if "continuing_subword_prefix" in model else "Unigram"
    )
    if kind != algorithm:
        raise TokenizerError(f"`{path}` holds a {kind} tokenizer; {algorithm} is expected. The fast tokenizer reads it.")
    return value


def added_tokens(tokenizer_json: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[int, Any]:
    """Added tokens by id: those of a `tokenizer.json`, with the flags that a checkpoint's settings give them."""
    listed = tokenizer_json.get("added_tokens") or []
    if not isinstance(listed, list) or not all(isinstance(each, dict) and isinstance(each.get("id"), int) for each in listed):
        raise CorruptFileError("The `added_tokens` of a `tokenizer.json` must be a list of tokens with ids. Download it again.")
    also = {int(index): token for index, token in (settings.get("added_tokens_decoder") or {}).items()}
    return {each["id"]: each for each in listed} | also
