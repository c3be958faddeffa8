"""The layers of T5 (https://arxiv.org/abs/1910.10683): attention without scaling, feed-forward, each behind a root mean square norm."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.nn import AttentionHeads, CheckpointedLayer, RMSNorm, activation, within_float16

from .configuration import T5Config

__all__ = [
    "T5Attention",
    "T5Block",
    "T5DenseActDense",
    "T5DenseGatedActDense",
    "T5LayerCrossAttention",
    "T5LayerFF",
    "T5LayerNorm",
    "T5LayerSelfAttention",
]


class T5LayerNorm(RMSNorm):
    """Root mean square norm whose output has the weight's dtype: where `wo` stays in float32, so does the residual stream."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(…, d_model) in and out."""
        return super().forward(hidden_states).to(self.weight.dtype)


class T5DenseActDense(nn.Module):
    """Feed-forward block of v1.0: `wo(act(wi(x)))`."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.act = activation(config.dense_act_fn)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, d_model) in and out."""
        return self.wo(_in_dtype_of(self.wo, self.dropout(self.act(self.wi(hidden_states)))))


class T5DenseGatedActDense(nn.Module):
    """Feed-forward block of v1.1: `wo(act(wi_0(x)) * wi_1(x))` (https://arxiv.org/abs/2002.05202)."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.act = activation(config.dense_act_fn)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, d_model) in and out."""
        gated = self.act(self.wi_0(hidden_states)) * self.wi_1(hidden_states)
        return self.wo(_in_dtype_of(self.wo, self.dropout(gated)))


class T5LayerFF(nn.Module):
    """Adds to the residual stream what the feed-forward block makes of the normed stream."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.DenseReluDense = T5DenseGatedActDense(config) if config.is_gated_act else T5DenseActDense(config)
        self.layer_norm = T5LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, d_model) in and out."""
        return hidden_states + self.dropout(self.DenseReluDense(self.layer_norm(hidden_states)))


class T5Attention(AttentionHeads):
    """Attention over the sequence itself, or over an encoder's states. Scores are not scaled: the initialisation of `q` is.

    The first layer of a stack holds `relative_attention_bias`, the table that all its layers' masks are made with.
    """

    def __init__(self, config: T5Config, layer_idx: int, *, has_relative_attention_bias: bool = False) -> None:
        super().__init__(config.d_kv, layer_idx=layer_idx, scale=1.0, dropout=config.dropout_rate)
        inner_dim = config.num_heads * config.d_kv
        self.q = nn.Linear(config.d_model, inner_dim, bias=False)
        self.k = nn.Linear(config.d_model, inner_dim, bias=False)
        self.v = nn.Linear(config.d_model, inner_dim, bias=False)
        self.o = nn.Linear(inner_dim, config.d_model, bias=False)
        self.q.init_scale = config.d_kv**-0.5  # type: ignore[assignment]
        if has_relative_attention_bias:
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)
            self.relative_attention_bias.init_scale = config.d_model**-0.5  # type: ignore[assignment]

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        key_value_states: Tensor | None = None,
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, d_model) in and out; attention weights (batch, num_heads, seq, keys) beside it, if needed.

        Args:
            key_value_states: the encoder's, (batch, keys, d_model), for cross-attention.
        """
        query = self.split_heads(self.q(hidden_states))  # (batch, num_heads, seq, d_kv)
        key, value = self.keys_and_values(self.k, self.v, hidden_states, key_value_states, past_key_values)
        mixed, weights = self.attend(query, key, value, mask=mask, need_weights=need_weights)
        return self.o(mixed), weights


class T5LayerSelfAttention(nn.Module):
    """Adds to the residual stream what self-attention makes of the normed stream."""

    def __init__(self, config: T5Config, layer_idx: int, *, has_relative_attention_bias: bool = False) -> None:
        super().__init__()
        self.SelfAttention = T5Attention(config, layer_idx, has_relative_attention_bias=has_relative_attention_bias)
        self.layer_norm = T5LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, hidden_states: Tensor, **attention: Any) -> tuple[Tensor, Tensor | None]:
        """As `T5Attention.forward`."""
        mixed, weights = self.SelfAttention(self.layer_norm(hidden_states), **attention)
        return hidden_states + self.dropout(mixed), weights


class T5LayerCrossAttention(nn.Module):
    """Adds to the residual stream what attention over the encoder's states makes of the normed stream."""

    def __init__(self, config: T5Config, layer_idx: int) -> None:
        super().__init__()
        self.EncDecAttention = T5Attention(config, layer_idx)
        self.layer_norm = T5LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, hidden_states: Tensor, **attention: Any) -> tuple[Tensor, Tensor | None]:
        """As `T5Attention.forward`."""
        mixed, weights = self.EncDecAttention(self.layer_norm(hidden_states), **attention)
        return hidden_states + self.dropout(mixed), weights


class T5Block(CheckpointedLayer):
    """Self-attention, in a decoder cross-attention, and feed-forward: the parts of `layer`, in this order."""

    def __init__(self, config: T5Config, layer_idx: int, *, is_decoder: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([T5LayerSelfAttention(config, layer_idx, has_relative_attention_bias=layer_idx == 0)])
        if is_decoder:
            self.layer.append(T5LayerCrossAttention(config, layer_idx))
        self.layer.append(T5LayerFF(config))

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        encoder_hidden_states: Tensor | None = None,
        cross_mask: MaskSpec | None = None,
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(batch, seq, d_model) in and out; beside it the weights of self- and cross-attention, where there are any.

        Args:
            encoder_hidden_states: (batch, keys, d_model); None: the decoder looks at no encoder.
        """
        shared = {"past_key_values": past_key_values, "need_weights": need_weights}
        cross_weights = None
        hidden_states, weights = self.layer[0](hidden_states, mask=mask, **shared)
        hidden_states = within_float16(hidden_states)
        if encoder_hidden_states is not None:
            hidden_states, cross_weights = self.layer[1](
                hidden_states, mask=cross_mask, key_value_states=encoder_hidden_states, **shared
            )
            hidden_states = within_float16(hidden_states)
        return within_float16(self.layer[-1](hidden_states)), weights, cross_weights


def _in_dtype_of(linear: nn.Module, hidden_states: Tensor) -> Tensor:
    """What goes into a layer that may be kept in another dtype than its neighbours."""
    weight = getattr(linear, "weight", None)
    has_dtype = isinstance(weight, Tensor) and weight.is_floating_point()
    return hidden_states.to(weight.dtype) if has_dtype else hidden_states  # type: ignore[union-attr]
