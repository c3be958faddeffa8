"""The settings of a quantization, as they stand in `config.json` under `quantization_config`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ..config_fields import config_error
from ..config_file import plain
from ..errors import QuantizationError, UnknownArgumentError, did_you_mean

__all__ = ["QuantizationConfig"]


class QuantizationConfig(BaseModel):
    """Base of every quantizer's settings: give it fields, and a default for `quant_method`.

    The constructor refuses unknown keywords. What a file has beyond the fields is kept and written back.
    """

    model_config = ConfigDict(extra="allow", validate_assignment=True, arbitrary_types_allowed=True, protected_namespaces=())
    loading_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that a load may set otherwise than the checkpoint: they change how is computed, not what is stored."""

    quant_method: str
    """Key of the quantizer."""
    modules_to_not_convert: list[str] | None = None
    """Modules that stay as they are: names of whole segments (`lm_head`, `mlp.down_proj`) or patterns of paths. None: the output
    embeddings. What is tied stays in any case."""

    def __init__(self, **values: Any) -> None:
        fields = type(self).model_fields
        for name in values:
            if name not in fields:
                hint = did_you_mean(name, fields)
                raise UnknownArgumentError(f"`{type(self).__name__}` got an unknown argument `{name}`.{hint}", argument=name)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise QuantizationError(str(config_error(error, f"`{type(self).__name__}`"))) from None

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """The settings from a checkpoint's dict; keys that are no fields are kept. Keywords replace what the dict says."""
        values = {**config_dict, **kwargs}
        made = cls(**{name: value for name, value in values.items() if name in cls.model_fields})
        assert made.__pydantic_extra__ is not None  # extra="allow"
        made.__pydantic_extra__.update({name: value for name, value in values.items() if name not in cls.model_fields})
        return (made, {}) if return_unused_kwargs else made

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `config.json` holds it."""
        found: dict[str, Any] = plain(
            {name: getattr(self, name) for name in (*type(self).model_fields, *(self.model_extra or ()))}
        )
        return found

    def to_json_string(self, use_diff: bool = True) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def with_loading(self, other: Self) -> Self:
        """These settings, with the `loading_fields` of others.

        Raises:
            QuantizationError: others that say how the weights are stored differ.
        """
        here, there = self.to_dict(), other.to_dict()
        said = [name for name in type(self).model_fields if name not in self.loading_fields and there.get(name) is not None]
        differ = [name for name in said if here[name] != there[name]]
        if differ:
            words = ", ".join(f"{name}={here[name]!r} and not {there[name]!r}" for name in differ)
            raise QuantizationError(
                f"The checkpoint is quantized with `{self.quant_method}` and {words}: drop `quantization_config`, or start from the "
                "checkpoint that is not quantized."
            )
        return self.model_copy(update={name: getattr(other, name) for name in self.loading_fields})
