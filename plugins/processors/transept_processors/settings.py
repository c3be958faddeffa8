"""Settings in JSON beside a checkpoint, for whatever prepares a model's inputs."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from transept.errors import CheckpointNotFoundError, ConfigError, SaveError, UnknownArgumentError, did_you_mean
from transept.files import Location, atomic_write_text, open_location, read_json

__all__ = ["LOCATION_OPTIONS", "PROCESSOR_FILE", "SavedSettings", "read_object"]

SETTINGS_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"
LOCATION_OPTIONS = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download")


def read_object(location: Location, file: str) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no such file.

    Raises:
        CorruptFileError: it is no JSON. ConfigError: it is no object.
    """
    found = location.fetch(file)
    if found is None:
        return {}
    values = read_json(found)
    if not isinstance(values, dict):
        raise ConfigError(f"`{file}` of `{location.name}` holds a {type(values).__name__}, and settings are an object.")
    return values


class SavedSettings:
    """Base of feature extractors and image processors: constructor arguments are settings, kept as attributes of their names.

    A subclass's constructor names its settings as keywords, each of which it keeps as an attribute, and hands the rest to
    `super().__init__`. What a file holds beside them is kept in `other_settings`, and written back.
    """

    type_field: ClassVar[str]
    """The key under which files name the class: `feature_extractor_type`, `image_processor_type`."""
    part: ClassVar[str]
    """The key under which a `processor_config.json` holds these settings."""
    other_names: ClassVar[tuple[str, ...]] = ()
    """Names that files use for this class beside its own."""
    model_input_names: ClassVar[list[str]] = []

    def __init__(
        self, *, processor_class: str | None = None, other_settings: Mapping[str, Any] | None = None, **unknown: Any
    ) -> None:
        for name in unknown:
            known = self.setting_names()
            raise UnknownArgumentError(
                f"`{type(self).__name__}` has no setting `{name}`.{did_you_mean(name, known)}", argument=name
            )
        self.processor_class = processor_class
        self.other_settings = dict(other_settings or {})

    @classmethod
    @functools.cache
    def setting_names(cls) -> tuple[str, ...]:
        """Keywords of the constructors of this class and its bases."""
        names: dict[str, None] = {}
        for base in cls.__mro__:
            if issubclass(base, SavedSettings) and "__init__" in vars(base):
                parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
                names.update(
                    {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY or p.kind is p.POSITIONAL_OR_KEYWORD}
                )
        return tuple(name for name in names if name not in ("self", "other_settings", "processor_class"))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str] | Location, **overrides: Any) -> Self:
        """The settings of a checkpoint; keywords go before them.

        Raises:
            CheckpointNotFoundError: no settings are there. ConfigError: they are another class's.
            UnknownArgumentError: a keyword that is no setting.
        """
        where = {name: overrides.pop(name) for name in LOCATION_OPTIONS if name in overrides}
        location = open_location(pretrained_model_name_or_path, **where)
        values = read_object(location, PROCESSOR_FILE).get(cls.part)
        values = values if isinstance(values, dict) else read_object(location, SETTINGS_FILE)
        if not values:
            raise CheckpointNotFoundError(
                f"`{location.name}` has no `{SETTINGS_FILE}`, which `{cls.__name__}` is made of. `{cls.__name__}()` has its defaults."
            )
        return cls.from_dict(values, where=location.name, **overrides)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = "the settings", **overrides: Any) -> Self:
        """Made of a file's content; raises as `from_pretrained`."""
        named = values.get(cls.type_field) or values.get("feature_extractor_type")
        if named is not None and named not in (cls.__name__, *cls.other_names):
            raise ConfigError(
                f"`{where}` has the settings of a `{named}`, and `{cls.__name__}` was to be made of them. Use the auto class, or that class."
            )
        known = cls.setting_names()
        for name in overrides:
            if name not in known:
                raise UnknownArgumentError(
                    f"`{cls.__name__}` has no setting `{name}`.{did_you_mean(name, known)}", argument=name
                )
        own = {name: value for name, value in values.items() if name in known}
        kept = ("feature_extractor_type", cls.type_field, "processor_class")
        other = {name: value for name, value in values.items() if name not in known and name not in kept}
        processor_class = values.get("processor_class")
        return cls(**copy.deepcopy({**own, **overrides}), other_settings=other, processor_class=processor_class)

    def to_dict(self) -> dict[str, Any]:
        """All settings, as a file holds them."""
        own = {name: getattr(self, name) for name in self.setting_names()}
        named = {"processor_class": self.processor_class} if self.processor_class is not None else {}
        return copy.deepcopy({**self.other_settings, **own, self.type_field: type(self).__name__, **named})

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> list[str]:
        """Write the settings to a folder, at once or not at all; returns the file's path."""
        folder = Path(save_directory)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise SaveError(f"`{folder}` is a file: give a folder to save to.") from error
        atomic_write_text(folder / SETTINGS_FILE, self.to_json_string())
        return [str(folder / SETTINGS_FILE)]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string().rstrip()}"
