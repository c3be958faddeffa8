"""`config.json`: how the values of a configuration come out of it, and go into it."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .config_fields import dtype_name, is_dtype
from .discovery import load_object, registry
from .errors import CheckpointNotFoundError, ConfigError, CorruptFileError, PluginError, shorten
from .files import read_json, weight_files

if TYPE_CHECKING:
    from .files import Location

FILE_NAME = "config.json"
RECORD_NAME = "transept"
"""Key under which `save_pretrained` writes which plugins made the model; it is no part of the configuration."""

_DEEPEST = 64
_SPECIAL_FLOATS = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}
_FLOAT_NAMES = {str(value): name for name, value in _SPECIAL_FLOATS.items()}


def read_config(location: Location) -> dict[str, Any]:
    """The values of the `config.json` there; where there is none that names a
    `model_type`, those that a weight file (GGUF, CTranslate2) carries inside.

    Raises: CheckpointNotFoundError, CorruptFileError, UnsafePathError
    """
    path = location.fetch(FILE_NAME)
    values = read_file(path) if path is not None else None
    if values is not None and "model_type" in values:
        return values
    names = location.names()
    readers = sorted((r for r in registry.records("checkpoints") if r.read_config), key=lambda record: -record.priority)
    for record in readers:
        if weight_files(names, record.suffixes):
            return dict(load_object(record.read_config, owner=record.key)(location))
    if values is not None:
        return values
    suffixes = [suffix for record in readers for suffix in record.suffixes]
    looked = f"`{FILE_NAME}`" + (f", and for files ending in {shorten(suffixes)}, which carry one inside" if suffixes else "")
    there = f"There are {shorten(names)}." if names else "Nothing is there."
    hint = " A plugin reads `.gguf` files: pip install transept-gguf." if any(n.endswith(".gguf") for n in names) else ""
    raise CheckpointNotFoundError(
        f"`{location.name}` has no configuration: looked for {looked}. {there}{hint}", name=location.name
    )


def read_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The values in one JSON file. Raises: CorruptFileError"""
    try:
        values = _untag_floats(read_json(path))
    except RecursionError:
        raise CorruptFileError(f"`{os.fspath(path)}` is nested more than {_DEEPEST} deep, which no configuration is.") from None
    if not isinstance(values, dict):
        raise CorruptFileError(f"`{os.fspath(path)}` holds no JSON object, so it is no configuration.", path=os.fspath(path))
    return values


def made_by(model_type: str, quantization: Any) -> dict[str, Any]:
    """The versions of transept and of the plugins that serve the model."""
    from importlib.metadata import version

    method = (plain(quantization) or {}).get("quant_method")
    plugins = {}
    for kind, key in (("configs", model_type), ("models", model_type), ("quantizers", method)):
        try:
            dist, number = registry.dist_of(kind, str(key))
        except PluginError:
            continue  # a class made by hand belongs to no dist
        plugins[dist] = number
    return {"version": version("transept"), "plugins": plugins}


def plain(value: Any) -> Any:
    """A copy as plain data: dtypes are names, tuples lists, and what has `to_dict` a dict."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if is_dtype(value):
        return dtype_name(value)
    if callable(to_dict := getattr(value, "to_dict", None)):
        return plain(to_dict())
    return copy.deepcopy(value)


def to_json(values: Mapping[str, Any], where: str) -> str:
    """JSON with sorted keys. Raises: ConfigError, which names the key whose value JSON cannot hold"""
    for name, value in values.items():
        try:
            dump(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"`{name}` of {where} cannot be JSON: {error}. Delete it before saving.", field=name) from None
    return dump(values)


def dump(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Indented JSON with sorted keys; Infinity and NaN, which JSON lacks, as `{"__float__": …}` like the peer."""
    return json.dumps(_tag_floats(value), indent=2, sort_keys=True, default=default, allow_nan=False) + "\n"


def _tag_floats(value: Any) -> Any:
    if isinstance(value, float):
        return {"__float__": _FLOAT_NAMES[str(value)]} if str(value) in _FLOAT_NAMES else value
    if isinstance(value, dict):
        return {key: _tag_floats(one) for key, one in value.items()}
    return [_tag_floats(one) for one in value] if isinstance(value, list) else value


def _untag_floats(value: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        tag = value.get("__float__") if len(value) == 1 else None
        if isinstance(tag, str) and tag in _SPECIAL_FLOATS:
            return _SPECIAL_FLOATS[tag]
        return {key: _untag_floats(one, depth + 1) for key, one in value.items()}
    return [_untag_floats(one, depth + 1) for one in value] if isinstance(value, list) else value
