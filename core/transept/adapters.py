"""Adapters on a model, by its own methods: an installed plugin of the kind `adapters` does the work (`transept-peft`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .discovery import load_object, registry
from .errors import CheckpointError, InputError
from .files import read_json

if TYPE_CHECKING:
    from torch import Tensor

    from .files import Location

__all__ = ["AdapterMixin", "adapted_base"]


class AdapterMixin:
    """Methods of the peer's models for adapters. Each raises PluginNotFoundError where no plugin serves them."""

    _adapters: Any = None
    """What the plugin keeps; it puts itself here with the first adapter, and away after the last."""

    def add_adapter(self, adapter_config: Any, adapter_name: str = "default") -> None:
        """Put a new adapter with this configuration (of peft's) into the model, and make it the active one."""
        self._with_adapters().add(adapter_config, adapter_name)

    def load_adapter(self, name: str | os.PathLike[str] | Location, adapter_name: str = "default", **options: Any) -> None:
        """Read an adapter from a folder or the hub, and make it the active one."""
        self._with_adapters().load(name, adapter_name, **options)

    def set_adapter(self, adapter_name: str | Sequence[str]) -> None:
        """Make these adapters the active ones, and enable them."""
        self._with_adapters().set(adapter_name)

    def enable_adapters(self) -> None:
        self._with_adapters().enable()

    def disable_adapters(self) -> None:
        """Compute without adapters until they are enabled again."""
        self._with_adapters().disable()

    def delete_adapter(self, adapter_names: str | Sequence[str]) -> None:
        """Take adapters away; with the last one the model's own modules return."""
        self._with_adapters().delete(adapter_names)

    def merge_adapter(self, adapter_names: Sequence[str] | None = None) -> None:
        """Add the adapters (None: the active ones) to the weights for good; the model's own modules return."""
        self._with_adapters().merge(adapter_names)

    def active_adapters(self) -> list[str]:
        return list(self._with_adapters().active())

    def get_adapter_state_dict(self, adapter_name: str | None = None) -> Mapping[str, Tensor]:
        """An adapter's tensors (None: the active one's), named as its file names them."""
        found: Mapping[str, Tensor] = self._with_adapters().state_dict(adapter_name)
        return found

    def _with_adapters(self) -> Any:
        if self._adapters is not None:
            return self._adapters
        record: Any = registry.get("adapters", "peft")
        return load_object(record.adapters, owner=registry.owner("adapters", record.key))(self)


def adapted_base(location: Location) -> str | None:
    """The base model of an adapter that lies at the location, without a model; None where it is no such place.

    Raises:
        InputError: the adapter does not say what it is for.
    """
    try:
        file = None if location.fetch("config.json") is not None else location.fetch("adapter_config.json")
    except CheckpointError:
        return None
    if file is None:
        return None
    values = read_json(file)
    base = values.get("base_model_name_or_path") if isinstance(values, dict) else None
    if not isinstance(base, str) or not base:
        raise InputError(
            f"`{location.name}` is an adapter that does not name its base model: load that, then `model.load_adapter(...)`."
        )
    return base
