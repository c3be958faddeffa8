"""The contract between transept and its plugins: hook specifications and the records that plugins return.

Importing it loads pluggy and pydantic, never torch. Its version is the plugin API's version (semantic versioning): a plugin
declares the range that it needs as an ordinary dependency on `transept-hookspecs`, which the host checks before it imports the plugin.
"""

from . import hooks, records
from .hooks import EVENT_HOOKS, PROJECT, RECORD_KINDS, hookimpl, hookspec
from .records import *  # noqa: F403
from .records import __all__ as _record_names

__version__ = "1.0.0"

__all__ = [  # noqa: PLE0604
    "EVENT_HOOKS",
    "PROJECT",
    "RECORD_KINDS",
    "hookimpl",
    "hooks",
    "hookspec",
    "records",
    *_record_names,
]
