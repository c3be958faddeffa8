"""A tokenizer as GGUF's metadata: the way back from `tokenization`, for byte-level BPE."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from transept.errors import TokenizerError

from .reader import Metadata
from .splitting import SPLITTINGS, pattern_of
from .writer import boolean, integers, string, strings, uint32

__all__ = ["chat_templates", "describe_tokenizer", "is_the_files"]

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
_SPECIAL = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


def describe_tokenizer(tokenizer: Any, vocab_size: int) -> dict[str, bytes]:
    """The `tokenizer.*` metadata of a tokenizer of byte-level BPE.

    Args:
        tokenizer: with a `backend_tokenizer` of the `tokenizers` library.
        vocab_size: rows of the model's embedding; ids without a token are written as unused.

    Raises:
        TokenizerError: it is of another kind, splits text in a way that has no name in GGUF, or has more tokens than rows.
    """
    backend = _backend(tokenizer)
    model = backend["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback") or not _is_byte_level(backend):
        raise _error(f"it is a {model.get('type')} tokenizer that is not byte-level BPE")
    added = {one["id"]: one for one in backend["added_tokens"]}
    ids = {index: token for token, index in model["vocab"].items()} | {index: one["content"] for index, one in added.items()}
    last = max(ids, default=-1)
    if last >= vocab_size:
        raise _error(f"it has tokens up to id {last}, and the model has {vocab_size} rows for them")
    pairs = {
        "model": string("gpt2"),
        "pre": string(_splitting(backend)),
        "tokens": strings([ids.get(index, f"[PAD{index}]") for index in range(vocab_size)]),
        "token_type": integers([_kind(index, ids, added) for index in range(vocab_size)]),
        "merges": strings([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]),
    }
    for key, name in _SPECIAL.items():
        index = getattr(tokenizer, f"{name}_id", None)
        if index is not None:
            pairs[f"{key}_token_id"] = uint32(index)
    pairs |= {f"add_{which}_token": boolean(getattr(tokenizer, f"add_{which}_token", False)) for which in ("bos", "eos")}
    templates = {f"tokenizer.{key}": string(text) for key, text in chat_templates(tokenizer).items()}
    return {f"tokenizer.ggml.{key}": value for key, value in pairs.items()} | templates


def chat_templates(tokenizer: Any) -> dict[str, str]:
    """Templates under GGUF's names: `chat_template` for the default one, `chat_template.NAME` for others."""
    given = getattr(tokenizer, "chat_template", None)
    named = given if isinstance(given, Mapping) else {} if given is None else {"default": given}
    return {"chat_template" if name == "default" else f"chat_template.{name}": text for name, text in named.items()}


def is_the_files(tokenizer: Any, metadata: Metadata) -> bool:
    """Whether a file's own description says the tokens and templates that a tokenizer has."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    stored = {key.removeprefix("tokenizer."): metadata[key] for key in metadata if key.startswith("tokenizer.chat_template")}
    return (
        isinstance(tokens, list)
        and len(tokenizer) <= len(tokens)
        and tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))) == tokens[: len(tokenizer)]
        and chat_templates(tokenizer) == stored
    )


def _backend(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _error(f"`{type(tokenizer).__name__}` has no `tokenizer.json`")
    read: dict[str, Any] = json.loads(backend.to_str())
    return read


def _kind(index: int, ids: Mapping[int, str], added: Mapping[int, Mapping[str, Any]]) -> int:
    if index not in ids:
        return _UNUSED
    if index not in added:
        return _NORMAL
    return _CONTROL if added[index]["special"] else _USER_DEFINED


def _steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """A part of a `tokenizer.json` as the list of its steps."""
    if part is None:
        return []
    inner = part.get("pretokenizers") or part.get("decoders") or part.get("normalizers")
    return [part] if inner is None else [step for one in inner for step in _steps(one)]


def _is_byte_level(backend: Mapping[str, Any]) -> bool:
    return any(step["type"] == "ByteLevel" for step in _steps(backend["pre_tokenizer"]))


def _splitting(backend: Mapping[str, Any]) -> str:
    """The name under which llama.cpp splits text as this tokenizer does."""
    strange = [step["type"] for step in _steps(backend["normalizer"]) if step["type"] != "NFC"]  # llama.cpp leaves it out
    found: list[str] = []
    for step in _steps(backend["pre_tokenizer"]):
        pattern = pattern_of(step)
        if pattern is None:
            strange.append(str(step["type"]))
        elif pattern:
            found.append(pattern)
    wanted = (tuple(found), bool(backend["model"].get("ignore_merges")))
    name = next((name for name, one in SPLITTINGS.items() if (one.patterns, one.ignore_merges) == wanted), None)
    if strange or name is None:
        what = ", ".join(strange) or " then ".join(f"`{pattern}`" for pattern in found) or "nothing"
        raise _error(f"it splits text by {what}, for which GGUF has no name that is known here")
    return name


def _error(what: str) -> TokenizerError:
    return TokenizerError(
        f"The tokenizer cannot be written into a GGUF file: {what}. Only byte-level BPE can; pass `tokenizer=None` to leave it out."
    )
