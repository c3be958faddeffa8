"""The layers of BART (https://arxiv.org/abs/1910.13461)."""

from __future__ import annotations

from typing import Any

from transept.nn import DecoderLayer, EncoderLayer

from .configuration import BartConfig

__all__ = ["BartDecoderLayer", "BartEncoderLayer"]


class BartEncoderLayer(EncoderLayer):
    """Self-attention and feed-forward of the encoder."""

    def __init__(self, config: BartConfig, layer_idx: int) -> None:
        heads, inner = config.encoder_attention_heads, config.encoder_ffn_dim
        super().__init__(config.d_model, heads, inner, layer_idx=layer_idx, **_shared(config))


class BartDecoderLayer(DecoderLayer):
    """Self-attention, cross-attention and feed-forward of the decoder."""

    def __init__(self, config: BartConfig, layer_idx: int) -> None:
        heads, inner = config.decoder_attention_heads, config.decoder_ffn_dim
        super().__init__(config.d_model, heads, inner, layer_idx=layer_idx, **_shared(config))


def _shared(config: BartConfig) -> dict[str, Any]:
    return {
        "pre_norm": config.older_key("normalize_before"),
        "activation_name": config.activation_function,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
    }
