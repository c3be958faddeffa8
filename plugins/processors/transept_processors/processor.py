"""Processors: several that prepare inputs, as one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

from transept.discovery import load_object, registry
from transept.errors import InputError, PluginNotFoundError, UnknownArgumentError, did_you_mean
from transept.files import Location, atomic_write_text, open_location

from .settings import LOCATION_OPTIONS, PROCESSOR_FILE, SavedSettings

__all__ = ["ProcessorMixin"]


class ProcessorMixin:
    """Joins a feature extractor or image processor and a tokenizer. A subclass names its parts and gives `__call__`.

    Each part is an attribute of its name. `parts` maps it to the keys under which plugins provide its class, the first that
    is installed serves; a part whose name is `tokenizer` is looked up among tokenizers, others among processors.
    """

    parts: ClassVar[dict[str, tuple[str, ...]]]
    chat_template: Any = None

    def __init__(self, *positional: Any, **parts: Any) -> None:
        if len(positional) > len(self.parts):
            raise InputError(f"`{type(self).__name__}` has {len(self.parts)} parts, {len(positional)} were given.")
        given = {**dict(zip(self.parts, positional, strict=False)), **parts}
        for name in given:
            if name not in self.parts:
                raise UnknownArgumentError(
                    f"`{type(self).__name__}` has no part `{name}`.{did_you_mean(name, self.parts)}", argument=name
                )
        for name in self.parts:
            if given.get(name) is None:
                raise InputError(f"`{type(self).__name__}` needs its part `{name}`.")
            setattr(self, name, given[name])

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str] | Location, **overrides: Any) -> Self:
        """All parts of a checkpoint. A keyword goes to the part that has a setting of its name, else to the tokenizer.

        Raises:
            PluginNotFoundError: no installed plugin provides a part. And what the parts' own `from_pretrained` raise.
        """
        where = {name: overrides.pop(name) for name in LOCATION_OPTIONS if name in overrides}
        location = open_location(pretrained_model_name_or_path, **where)
        classes = {name: _part_class(name, keys) for name, keys in cls.parts.items()}
        made = {}
        for name, part in classes.items():
            known = part.setting_names() if hasattr(part, "setting_names") else ()
            last = name == list(classes)[-1]
            mine = {key: overrides.pop(key) for key in list(overrides) if key in known or last}
            made[name] = part.from_pretrained(location, **mine)
        return cls(**made)

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> list[str]:
        """Write every part, and `processor_config.json` that names this class; returns the paths."""
        folder, written = Path(save_directory), list[str]()
        held: dict[str, Any] = {}
        for name in self.parts:
            part = getattr(self, name)
            if isinstance(part, SavedSettings):
                part.processor_class = type(self).__name__
                held[name] = part.to_dict()
            written += part.save_pretrained(folder)
        text = json.dumps({**held, "processor_class": type(self).__name__}, indent=2, sort_keys=True) + "\n"
        atomic_write_text(folder / PROCESSOR_FILE, text)
        return [*written, str(folder / PROCESSOR_FILE)]

    @property
    def model_input_names(self) -> list[str]:
        """Names that the parts' outputs have."""
        return list(dict.fromkeys(name for part in self.parts for name in getattr(self, part).model_input_names))

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """The tokenizer's `decode`."""
        return self._tokenizer().decode(*args, **kwargs)

    def batch_decode(self, *args: Any, **kwargs: Any) -> Any:
        """The tokenizer's `batch_decode`."""
        return self._tokenizer().batch_decode(*args, **kwargs)

    def _tokenizer(self) -> Any:
        found = getattr(self, "tokenizer", None)
        if found is None:
            raise InputError(f"`{type(self).__name__}` has no tokenizer.")
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={type(getattr(self, name)).__name__}' for name in self.parts)})"


def _part_class(name: str, keys: tuple[str, ...]) -> Any:
    kind, field = ("tokenizers", "tokenizer") if name == "tokenizer" else ("processors", "processor")
    for key in keys:
        record = registry.find(kind, key)
        if record is not None:
            return load_object(getattr(record, field), owner=registry.owner(kind, key))
    try:
        return registry.get(kind, keys[0])
    except PluginNotFoundError as error:
        raise PluginNotFoundError(f"{error} (the part `{name}` of the processor)", **error.fields) from error
