"""Which layers of a model see only a window."""

from __future__ import annotations

from typing import Any

from ..errors import CacheError

__all__ = ["windows_of"]

_KINDS = ("full_attention", "chunked_attention", "sliding_attention")


def windows_of(config: Any) -> list[int | None]:
    """For each layer the number of keys that a query sees, its own among them; None where it may see all.

    Read from `num_hidden_layers`, `layer_types` and `sliding_window`. Without `layer_types`, a `sliding_window` is every
    layer's. Layers that attend within chunks keep everything. Empty where the configuration tells no number of layers.

    Raises:
        CacheError: a layer type that keeps something else than keys and values.
    """
    config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    window, types = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if types is None:
        return [window] * (getattr(config, "num_hidden_layers", None) or 0)
    for kind in types:
        if kind not in _KINDS:
            raise CacheError(
                f"`layer_types` has `{kind}`, for which there is no cache here: this model's own package has to bring one."
            )
    return [window if kind == "sliding_attention" else None for kind in types]
