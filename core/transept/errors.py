"""The errors that people meet: one root, fields to read, and words that say what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AttentionError",
    "CacheError",
    "ChatTemplateError",
    "CheckpointError",
    "CheckpointNotFoundError",
    "ConfigError",
    "CorruptFileError",
    "DuplicatePluginError",
    "GenerationError",
    "InputError",
    "MissingTensorsError",
    "PlacementError",
    "PluginBlockedError",
    "PluginError",
    "PluginImportError",
    "PluginNotFoundError",
    "PluginRecordError",
    "PluginVersionError",
    "QuantizationError",
    "RewriteError",
    "SaveError",
    "ShapeMismatchError",
    "TokenizerError",
    "TranseptError",
    "UnexpectedTensorsError",
    "UnknownArgumentError",
    "UnsafePathError",
    "UnsupportedTaskError",
    "did_you_mean",
    "shorten",
]


class TranseptError(Exception):
    """Root of every error that transept and its plugins raise on purpose.

    Keyword arguments become attributes, so that a program can read what a person reads in the message.
    """

    def __init__(self, message: str, **fields: object) -> None:
        super().__init__(message)
        self.fields = fields
        for name, value in fields.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args[0], self.fields))


def _rebuild(cls: type[TranseptError], message: str, fields: dict[str, object]) -> TranseptError:
    return cls(message, **fields)


class PluginError(TranseptError):
    """Something is wrong with a plugin, or with the choice of one."""


class PluginNotFoundError(PluginError, LookupError):
    """No installed plugin provides the key."""


class DuplicatePluginError(PluginError):
    """Two dists offer the same key."""


class PluginImportError(PluginError, ImportError):
    """The plugin that was asked for does not import."""


class PluginVersionError(PluginError):
    """The plugin was made for another version of the plugin API."""


class PluginRecordError(PluginError):
    """The plugin's hook returned something else than the records it promised."""


class PluginBlockedError(PluginError):
    """The plugin is installed, and `TRANSEPT_PLUGINS` does not allow it."""


class ConfigError(TranseptError, ValueError):
    """A configuration has a wrong value, or values that do not fit together."""


class UnknownArgumentError(TranseptError, TypeError):
    """A keyword that nothing here takes."""


class InputError(TranseptError, ValueError):
    """A tensor or argument given to a model does not fit."""


class UnsupportedTaskError(TranseptError, ValueError):
    """The architecture has no class for the task."""


class CheckpointError(TranseptError):
    """A checkpoint cannot be used as it is."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """Nothing is found under the name."""

    def __str__(self) -> str:
        return str(self.args[0])


class CorruptFileError(CheckpointError, ValueError):
    """A file is truncated, damaged or not what its name says."""


class UnsafePathError(CheckpointError, ValueError):
    """A checkpoint names a file outside its own folder."""


class MissingTensorsError(CheckpointError, ValueError):
    """The checkpoint lacks tensors that the model needs."""


class UnexpectedTensorsError(CheckpointError, ValueError):
    """The checkpoint has tensors that the model has no place for."""


class ShapeMismatchError(CheckpointError, ValueError):
    """A tensor's shape is not the parameter's."""


class SaveError(TranseptError, OSError):
    """Saving failed; what stood there before still stands."""

    def __str__(self) -> str:
        return str(self.args[0])


class RewriteError(TranseptError):
    """A rewrite cannot be applied, undone or combined as asked."""


class PlacementError(TranseptError, ValueError):
    """The model cannot be put on the devices as asked."""


class QuantizationError(TranseptError, ValueError):
    """A quantization cannot be done as asked."""


class AttentionError(TranseptError, ValueError):
    """No kernel, or not the named one, can serve the request."""


class CacheError(TranseptError, ValueError):
    """A cache is asked for more than it can hold, or for what it cannot do."""


class GenerationError(TranseptError, ValueError):
    """The arguments of `generate` contradict each other, or the model cannot follow them."""


class TokenizerError(TranseptError, ValueError):
    """A tokenizer cannot be made, or cannot encode or decode as asked."""


class ChatTemplateError(TokenizerError):
    """A chat template is missing, refused or fails."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence with the nearest of the known words, with a leading space, or nothing."""
    near = difflib.get_close_matches(word, [str(k) for k in known], n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""


def shorten(words: Iterable[object], most: int = 5) -> str:
    """The first few words in backticks, and how many more there are."""
    every = [str(w) for w in words]
    shown = ", ".join(f"`{w}`" for w in every[:most])
    return shown + (f" and {len(every) - most} more" if len(every) > most else "")
