"""Discovery: names first, code last. Which installed dist offers what, and the one plugin that is asked for."""

from .index import PluginEntry
from .loading import load_object
from .registry import PluginRegistry, Registration, registry

__all__ = ["PluginEntry", "PluginRegistry", "Registration", "load_object", "registry"]
