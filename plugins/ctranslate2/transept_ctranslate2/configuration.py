"""A model's configuration, in config.json's terms, from a folder that CTranslate2 converted a checkpoint into.

There, `config.json` is CTranslate2's own: ids that generation suppresses, ids of languages, heads that align. Sizes are read off
the tensors, ids of special tokens off the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transept.errors import CheckpointError, ConfigError, CorruptFileError, shorten
from transept.files import Location, read_json

from .checkpoint import CTranslate2Reader, model_file

__all__ = ["read_config"]

_GELU = 3
"""CTranslate2's number for that activation. A Whisper's encoder has no other."""
_TASKS = ("transcribe", "translate")
_ENGLISH_END = 50256
"""The id of the end in the vocabulary of GPT-2, which the English models have."""


def read_config(location: Location) -> dict[str, Any]:
    """The configuration of the model at a location, as config.json would hold it.

    Raises:
        CheckpointError: a model of a family that is not known here.
        ConfigError: something that the configuration needs is missing, or cannot be said in it.
        CorruptFileError: a file is damaged.
    """
    file = model_file(location)
    if file.specification != "WhisperSpec":
        raise CheckpointError(
            f"`{file.path}` is a `{file.specification}`, and transept-ctranslate2 knows `WhisperSpec`. Use the model's safetensors.",
            specification=file.specification,
        )
    return _whisper(CTranslate2Reader(file), location)


def _whisper(reader: CTranslate2Reader, location: Location) -> dict[str, Any]:
    vocab_size, width = _shape(reader, "decoder.embeddings.weight", 2)
    activation = reader.attributes.get("decoder.activation", _GELU)
    if activation != _GELU:
        raise ConfigError(
            f"`{location.name}` has the activation {activation} of CTranslate2, and a Whisper's is {_GELU}, GELU."
        )
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "vocab_size": vocab_size,
        "d_model": width,
        "num_mel_bins": _shape(reader, "encoder.conv1.weight", 3)[1],
        "activation_function": "gelu",
        "scale_embedding": bool(reader.attributes.get("decoder.scale_embeddings", 0)),
        **_sides(reader),
        "max_source_positions": _shape(reader, "encoder.position_encodings.encodings", 2)[0],
        "max_target_positions": _shape(reader, "decoder.position_encodings.encodings", 2)[0],
        "tie_word_embeddings": True,
        **_of_generation(location),
        "max_length": _shape(reader, "decoder.position_encodings.encodings", 2)[0],
        "dtype": _dtype(reader),
    }


def _dtype(reader: CTranslate2Reader) -> str:
    """As the embedding is stored, or float32, which integers are read as."""
    kind = reader.tensors["decoder.embeddings.weight"].kind
    return kind if "float" in kind else "float32"


def _sides(reader: CTranslate2Reader) -> dict[str, int]:
    found = {}
    for side in ("encoder", "decoder"):
        start = f"{side}.layer."
        numbers = {name.removeprefix(start).split(".")[0] for name in reader.tensors if name.startswith(start)}
        heads = reader.attributes.get(f"{side}.num_heads")
        if heads is None:
            raise ConfigError(f"`{reader.files[0]}` does not say how many heads its {side} has (`{side}/num_heads`).")
        found[f"{side}_layers"], found[f"{side}_attention_heads"] = len(numbers), int(heads)
        found[f"{side}_ffn_dim"] = _shape(reader, f"{start}0.ffn.linear.0.weight", 2)[0]
    return found


def _shape(reader: CTranslate2Reader, name: str, rank: int) -> tuple[int, ...]:
    found = reader.tensors.get(name)
    if found is None or len(found.shape) != rank:
        raise ConfigError(f"`{reader.files[0]}` has no tensor `{name}` with {rank} sizes, which a Whisper has.", name=name)
    return found.shape


def _of_generation(location: Location) -> dict[str, Any]:
    """Ids of special tokens, and what `config.json` and the vocabulary say about generation."""
    vocabulary = _vocabulary(location)
    missing = [token for token in ("<|endoftext|>", "<|startoftranscript|>") if token not in vocabulary]
    if missing:
        raise ConfigError(
            f"`{location.name}` has no {shorten(missing)} in `vocabulary.json`, `vocabulary.txt` or `tokenizer.json`, from which the ids "
            "of a Whisper's special tokens are read."
        )
    end, start = vocabulary["<|endoftext|>"], vocabulary["<|startoftranscript|>"]
    languages = {
        token: index for token, index in vocabulary.items() if index > start and len(token) in (6, 7) and token[2:-2].isalpha()
    }
    settings = _settings(location)
    found = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
        "suppress_tokens": settings.get("suppress_ids"),
        "begin_suppress_tokens": settings.get("suppress_ids_begin"),
        "alignment_heads": settings.get("alignment_heads"),
        "no_timestamps_token_id": vocabulary.get("<|notimestamps|>"),
        "prev_sot_token_id": vocabulary.get("<|startofprev|>"),
    }
    # English alone has one token fewer than many languages: there is none for `no language`
    many = end != _ENGLISH_END
    found["is_multilingual"] = many
    if many:
        ids = set(settings.get("lang_ids") or languages.values())
        found["lang_to_id"] = {token: index for token, index in languages.items() if index in ids}
        found["task_to_id"] = {task: vocabulary[f"<|{task}|>"] for task in _TASKS if f"<|{task}|>" in vocabulary}
    return {name: value for name, value in found.items() if value is not None}


def _vocabulary(location: Location) -> dict[str, int]:
    """Ids by token, from whichever file is there."""
    path = location.fetch("vocabulary.json")
    if path is not None:
        tokens = read_json(path)
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise CorruptFileError(f"`{path}` holds no list of tokens.", path=str(path))
        return {token: index for index, token in enumerate(tokens)}
    path = location.fetch("vocabulary.txt")
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise CorruptFileError(f"`{path}` is not UTF-8: {error}", path=str(path)) from error
        return {token: index for index, token in enumerate(lines)}
    path = location.fetch("tokenizer.json")
    added = read_json(path).get("added_tokens", []) if path is not None else []
    return {row["content"]: row["id"] for row in added if isinstance(row, Mapping) and "content" in row and "id" in row}


def _settings(location: Location) -> dict[str, Any]:
    path = location.fetch("config.json")
    values = read_json(path) if path is not None else {}
    return values if isinstance(values, dict) else {}
