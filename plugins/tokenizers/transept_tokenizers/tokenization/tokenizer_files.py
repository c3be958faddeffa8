"""The small files beside a vocabulary: `tokenizer_config.json`, special tokens, chat templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transept.errors import CorruptFileError, TokenizerError
from transept.files import Location, atomic_write_text, read_json, safe_join

__all__ = ["CHAT_TEMPLATE", "CHAT_TEMPLATE_FOLDER", "read_settings", "write_chat_templates", "write_json"]

TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
CHAT_TEMPLATE = "chat_template.jinja"
CHAT_TEMPLATE_FOLDER = "additional_chat_templates"
_MOST_TEMPLATE_BYTES = 4 << 20
# Written by other tools; they say where a file lay or how it was found, and nothing about the tokenizer.
_NOT_SETTINGS = ("tokenizer_class", "name_or_path", "is_local", "local_files_only", "init_inputs", "auto_map", "files_loaded")


def read_settings(location: Location) -> dict[str, Any]:
    """The keys of `tokenizer_config.json`, with the special tokens and chat templates of the other files joined in.

    Precedence follows the files' history: `special_tokens_map.json` and `added_tokens.json` count where
    `tokenizer_config.json` has no `added_tokens_decoder`; template files count before a template in the config.
    """
    settings = {key: value for key, value in _read_object(location, TOKENIZER_CONFIG).items() if key not in _NOT_SETTINGS}
    if "added_tokens_decoder" not in settings:
        settings.update({key: value for key, value in _read_object(location, SPECIAL_TOKENS_MAP).items() if value is not None})
        added = _read_object(location, ADDED_TOKENS)
        if added:  # tokens without flags, which count where the vocabulary file doesn't know them
            settings["added_tokens_decoder"] = {index: token for token, index in added.items()}
    for alias, name in (("additional_special_tokens", "extra_special_tokens"), ("max_len", "model_max_length")):
        value = settings.pop(alias, None)
        if value is not None and not settings.get(name):
            settings[name] = value
    templates = _read_templates(location)
    if templates:
        settings["chat_template"] = templates["default"] if list(templates) == ["default"] else templates
    return settings


def _read_object(location: Location, name: str) -> dict[str, Any]:
    path = location.fetch(name)
    value = {} if path is None else read_json(path)
    if not isinstance(value, dict):
        raise CorruptFileError(f"`{path}` holds a {type(value).__name__}; an object is expected.")
    return value


def _read_templates(location: Location) -> dict[str, str]:
    names = {"default": CHAT_TEMPLATE}
    prefix = CHAT_TEMPLATE_FOLDER + "/"
    for name in location.names():
        if name.startswith(prefix) and name.endswith(".jinja"):
            names[name[len(prefix) : -len(".jinja")]] = name
    templates = {}
    for key, name in names.items():
        path = location.fetch(name)
        if path is not None:
            templates[key] = _read_template(path)
    return templates


def _read_template(path: Path) -> str:
    if path.stat().st_size > _MOST_TEMPLATE_BYTES:
        raise CorruptFileError(f"`{path}` has {path.stat().st_size} bytes: too many for a chat template.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"`{path}` is not UTF-8 text: {error}.") from error


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Write an object as checkpoints have it: sorted keys, two spaces, UTF-8."""
    atomic_write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    return path


def write_chat_templates(folder: Path, chat_template: str | Mapping[str, str] | None) -> list[Path]:
    """Write each template to a file of its own, and remove templates of an earlier save, which would come back to life."""
    templates = {"default": chat_template} if isinstance(chat_template, str) else dict(chat_template or {})
    names = {}
    for name in templates:
        if "/" in name or not name:
            raise TokenizerError(f"The chat template's name `{name}` cannot be a file name: rename it.")
        names[name] = CHAT_TEMPLATE if name == "default" else f"{CHAT_TEMPLATE_FOLDER}/{name}.jinja"
    paths = {name: safe_join(folder, file) for name, file in names.items()}
    for name, path in paths.items():
        path.parent.mkdir(exist_ok=True)
        atomic_write_text(path, templates[name])
    for stale in {folder / CHAT_TEMPLATE, *(folder / CHAT_TEMPLATE_FOLDER).glob("*.jinja")} - set(paths.values()):
        stale.unlink(missing_ok=True)
    return list(paths.values())
