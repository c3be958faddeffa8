"""From the command's few options to the settings of whichever quantizer was named."""

from __future__ import annotations

from typing import Any

from transept.discovery import load_object, registry
from transept.errors import QuantizationError
from transept.quantization import QuantizationConfig, quantization_from

__all__ = ["calibration_of", "settings_for"]

_SPELLINGS = {
    "bits": ("bits", "nbits", "w_bit"),
    "group_size": ("group_size", "q_group_size"),
    "skip": ("modules_to_not_convert", "llm_int8_skip_modules", "ignore"),
}
"""What quantizers call each option."""


def settings_for(method: str, **options: Any) -> QuantizationConfig:
    """The settings of a method or preset, with those options that are not None.

    Raises:
        QuantizationError: the method has no such option, or not this value.
        PluginNotFoundError: no quantizer of that name is installed.
    """
    settings = quantization_from(method)
    fields = type(settings).model_fields
    changes: dict[str, Any] = {}
    for option, value in options.items():
        if value is None:
            continue
        # a subclass may keep the base's field and read its own spelling instead: the last one it has is its own
        name = next((spelling for spelling in reversed(_SPELLINGS[option]) if spelling in fields), None)
        if name is None:
            flag = option.replace("_", "-")
            raise QuantizationError(f"`{method}` has no `--{flag}`; its settings are: {', '.join(sorted(fields))}.")
        changes[name] = value
    made: QuantizationConfig = type(settings)(**{**_given(settings), **changes})
    return made


def _given(settings: QuantizationConfig) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def calibration_of(settings: QuantizationConfig) -> Any:
    """The method's `calibrate(linear, settings)`, or None where it quantizes without data."""
    record = registry.get("quantizers", settings.quant_method)
    return load_object(record.calibrate, owner=record.key) if record.calibrate is not None else None
