"""Rules between fields that the configurations of several families share: `validate_config` calls those that hold for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .errors import ConfigError, shorten

__all__ = [
    "check_absolute_positions",
    "check_cross_attention",
    "check_heads",
    "check_layer_types",
    "check_padding",
    "sliding_from",
]


def check_heads(config: Any, *, share_the_stream: bool) -> None:
    """Refuse heads that do not divide evenly.

    Args:
        share_the_stream: `hidden_size` is cut into `num_attention_heads`; False where heads have a size of their own.

    Raises: ConfigError
    """
    where, heads = f"`{type(config).__name__}`", config.num_attention_heads
    if share_the_stream and config.hidden_size % heads:
        instead = ", or give `head_dim`" if "head_dim" in type(config).model_fields else ""
        raise ConfigError(
            f"`hidden_size` of {where} is {config.hidden_size}, no multiple of `num_attention_heads`, which is {heads}. "
            f"Change one of them{instead}."
        )
    key_heads = getattr(config, "num_key_value_heads", None)
    if key_heads and heads % key_heads:
        raise ConfigError(
            f"`num_attention_heads` of {where} is {heads}, no multiple of `num_key_value_heads`, which is {key_heads}: each "
            "key/value head serves the same number of query heads."
        )


def check_padding(config: Any) -> None:
    """Refuse a padding token that has no row in the embedding. Raises: ConfigError"""
    if config.pad_token_id is not None and config.pad_token_id >= config.vocab_size:
        raise ConfigError(f"`pad_token_id` is {config.pad_token_id}, and the vocabulary ends at {config.vocab_size - 1}.")


def check_absolute_positions(config: Any) -> None:
    """Refuse relative positions, which older files ask for: they have weights of their own. Raises: ConfigError"""
    kind = config.get("position_embedding_type")
    if kind not in ("absolute", None):
        raise ConfigError(
            f"`position_embedding_type` is `{kind}`, and a `{type(config).__name__}` has absolute positions only."
        )


def check_cross_attention(config: Any) -> None:
    """Refuse an encoder that looks at another encoder. Raises: ConfigError"""
    if config.add_cross_attention and not config.is_decoder:
        raise ConfigError(f"`add_cross_attention` of `{type(config).__name__}` needs a decoder: set `is_decoder=True` too.")


def check_layer_types(config: Any, known: Collection[str] = ("full_attention", "sliding_attention")) -> None:
    """Refuse `layer_types` that are not one for each layer, or of a kind that the family does not have. Raises: ConfigError"""
    where, types = f"`{type(config).__name__}`", config.layer_types
    if len(types) != config.num_hidden_layers:
        raise ConfigError(
            f"`layer_types` of {where} has {len(types)} entries, and `num_hidden_layers` is {config.num_hidden_layers}: give one "
            "for each layer, or leave `layer_types` out."
        )
    unknown = sorted(set(types) - set(known))
    if unknown:
        raise ConfigError(f"`layer_types` of {where} has {shorten(unknown)}; its layers may be {shorten(known)}.")
    if "sliding_attention" in types and config.sliding_window is None:
        raise ConfigError(
            f"`layer_types` of {where} has `sliding_attention`, and `sliding_window` is None: say how many keys those layers see."
        )


def sliding_from(first: int, config: Any) -> list[str]:
    """`layer_types` of a model whose layers slide from number `first` on, where it has a `sliding_window`."""
    slides = config.sliding_window is not None
    return [
        "sliding_attention" if slides and layer_idx >= first else "full_attention"
        for layer_idx in range(config.num_hidden_layers)
    ]
