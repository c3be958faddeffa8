"""From what somebody asks for, or a checkpoint says, to the rewrites that quantize."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from pydantic import Field, field_validator

from ..config_file import plain
from ..discovery import load_object, registry
from ..errors import QuantizationError
from ..rewrite import Rewrite
from .config import QuantizationConfig

__all__ = ["MixedConfig", "chosen_quantizers", "mixed_rewrites", "quantization_from"]


class MixedConfig(QuantizationConfig):
    """Several quantizers in one model: settings by pattern of the module's path, the first that fits decides.

    Asked for as `{"*.down_proj": "int8", "lm_head": None, "default": "nf4"}`; without a default the rest stays as it is.
    """

    quant_method: str = "mixed"
    modules: dict[str, Any] = Field(default_factory=dict)
    """Pattern to a quantizer's settings; None leaves the module as it is. In files a list of pairs: those sort the keys of a dict."""
    default: Any = None

    @field_validator("modules", mode="before")
    @classmethod
    def _in_order(cls, given: Any) -> Any:
        pairs = isinstance(given, list) and all(
            isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) for one in given
        )
        return {one[0]: one[-1] for one in given} if pairs else given

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "modules": plain(list(self.modules.items()))}

    @property
    def load_in_4bit(self) -> bool:
        """Whether some layers are bitsandbytes' 4-bit ones: peft asks."""
        return self._any("load_in_4bit")

    @property
    def load_in_8bit(self) -> bool:
        return self._any("load_in_8bit")

    def _any(self, name: str) -> bool:
        return any(getattr(one, name, False) for one in (*self.modules.values(), self.default))


def quantization_from(asked: Any) -> QuantizationConfig:
    """Settings from themselves, the name of a method or of a preset, a checkpoint's dict, or a table of names by pattern.

    Raises:
        PluginNotFoundError: no quantizer of that name is installed. QuantizationError: the settings are not sound.
    """
    if isinstance(asked, str):
        return _named(asked)
    if not isinstance(asked, Mapping):
        _method(asked)  # or an error
        return asked
    if "quant_method" not in asked and asked and all(isinstance(one, _VALUES) for one in asked.values()):
        modules = {pattern: None if one is None else quantization_from(one) for pattern, one in asked.items()}
        return MixedConfig(default=modules.pop("default", None), modules=modules)
    method = _method(asked)
    config_class = load_object(registry.get("quantizers", method).config, owner=method)
    made: QuantizationConfig = config_class.from_dict(asked)
    if isinstance(made, MixedConfig):
        made.modules = {pattern: None if one is None else quantization_from(one) for pattern, one in made.modules.items()}
        made.default = None if made.default is None else quantization_from(made.default)
    return made


_VALUES = (str, Mapping, QuantizationConfig, type(None))


def _named(name: str) -> QuantizationConfig:
    for record in registry.records("quantizers"):
        if name in record.presets:
            made: QuantizationConfig = load_object(record.config, owner=record.key)(**record.presets[name])
            return made
    spec = registry.get("quantizers", name)
    made = load_object(spec.config, owner=name)()
    return made


def chosen_quantizers(asked: Any, config: Any) -> list[Rewrite]:
    """The rewrites of the quantization that is asked for, or that the checkpoint names; the configuration then says which.

    Raises:
        QuantizationError: the checkpoint is quantized by another method, or otherwise. PluginNotFoundError: see the message.
    """
    stored = getattr(config, "quantization_config", None)
    if asked is None and stored is None:
        return []
    chosen = quantization_from(stored if asked is None else asked)
    if asked is not None and stored is not None:
        there = quantization_from(stored)
        if there.quant_method != chosen.quant_method:
            raise QuantizationError(
                f"The checkpoint is quantized with `{there.quant_method}`, and `quantization_config` asks for "
                f"`{chosen.quant_method}`: drop `quantization_config`, or start from the checkpoint that is not quantized."
            )
        chosen = there.with_loading(chosen)
    chosen = chosen.model_copy(deep=True)  # what one model's modules turn out to be is no other's concern
    rewrites = _rewrites(chosen, config)
    config.quantization_config = chosen
    return rewrites


def _rewrites(chosen: QuantizationConfig, config: Any) -> list[Any]:
    spec = registry.get("quantizers", _method(chosen))
    made = load_object(spec.rewrite, owner=spec.key)(chosen, config)
    return list(made) if isinstance(made, list | tuple) else [made]


def mixed_rewrites(chosen: MixedConfig, config: Any) -> list[Any]:
    """A quantizer for each of the settings, which takes what its patterns say."""
    asked = [*chosen.modules.items(), (None, chosen.default)]
    rewrites: list[Any] = []
    for index, (pattern, settings) in enumerate(asked):
        if settings is not None:
            for rewrite in _rewrites(settings, config):
                rewrite.only = partial(
                    _takes, index=index, patterns=list(chosen.modules), skipped=chosen.modules_to_not_convert
                )
                rewrite.optional = pattern is None
                rewrites.append(rewrite)
    if not rewrites:
        raise QuantizationError("`quantization_config` names no quantizer: give a pattern, or `default`, a method.")
    return rewrites


def _takes(path: str, *, index: int, patterns: list[str], skipped: list[str] | None) -> bool | None:
    """Whether the settings with this number serve the path; None for the default ones, which keep their own exceptions."""
    first = next((number for number, pattern in enumerate(patterns) if fnmatchcase(path, pattern)), len(patterns))
    if first != index or any(fnmatchcase(path, one) for one in skipped or ()):
        return False
    return None if index == len(patterns) else True


def _method(quantization: Any) -> str:
    method = (
        quantization.get("quant_method") if isinstance(quantization, Mapping) else getattr(quantization, "quant_method", None)
    )
    if method is None:
        raise QuantizationError("`quantization_config` has no `quant_method`, so no quantizer can be chosen: give it one.")
    return str(getattr(method, "value", method))
