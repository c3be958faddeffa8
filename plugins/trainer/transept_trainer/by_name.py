"""Optimizers and schedules by name: the key itself, or an alias that a record declares."""

from __future__ import annotations

from typing import Any

from transept.discovery import registry

__all__ = ["record_of"]


def record_of(kind: str, name: str) -> tuple[str, Any]:
    """The key and the record that serve a name. Only where no key is called that are the other plugins asked for aliases.

    Raises: PluginNotFoundError with near names and what to install.
    """
    record = registry.find(kind, name)
    if record is None:
        record = next((each for each in registry.records(kind) if name in each.aliases), None)
    if record is None:
        record = registry.get(kind, name)
    return record.key, record
