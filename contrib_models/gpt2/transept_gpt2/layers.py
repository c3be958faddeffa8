"""A decoder layer of GPT-2: self-attention, cross-attention where the model has an encoder to look at, feed-forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.nn import AttentionHeads, CheckpointedLayer, activation

from .configuration import GPT2Config

__all__ = ["GPT2MLP", "GPT2Attention", "GPT2Block", "GPT2CrossAttention"]


def residual_projection(in_features: int, config: GPT2Config) -> nn.Linear:
    """Back onto the residual stream, to which each layer adds twice: it starts smaller by the root of that (§2.3)."""
    projection = nn.Linear(in_features, config.n_embd)
    projection.initializer_scale = (2 * config.n_layer) ** -0.5  # type: ignore[assignment]
    return projection


class _Heads(AttentionHeads):
    """What self- and cross-attention share: the scale of scores, the precision, and the way back."""

    def __init__(self, config: GPT2Config, layer_idx: int) -> None:
        head_dim = config.n_embd // config.n_head
        scale = head_dim**-0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            scale /= layer_idx + 1
        super().__init__(head_dim, layer_idx=layer_idx, scale=scale, dropout=config.attn_pdrop)
        self.in_float32 = config.reorder_and_upcast_attn
        self.c_proj = residual_projection(config.n_embd, config)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def mix(
        self, query: Tensor, key: Tensor, value: Tensor, *, mask: MaskSpec, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, (batch, heads, seq, head_dim) each, and go back to the residual stream: (batch, seq, n_embd)."""
        if self.in_float32:
            with torch.autocast(query.device.type, enabled=False):
                found, weights = self.attend(query.float(), key.float(), value.float(), mask=mask, need_weights=need_weights)
            found, weights = found.to(value.dtype), None if weights is None else weights.to(value.dtype)
        else:
            found, weights = self.attend(query, key, value, mask=mask, need_weights=need_weights)
        return self.resid_dropout(self.c_proj(found)), weights


class GPT2Attention(_Heads):
    """Causal multi-head self-attention; one projection gives queries, keys and values."""

    def __init__(self, config: GPT2Config, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)

    def forward(
        self, hidden_states: Tensor, *, mask: MaskSpec, past_key_values: Any = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, n_embd) in and out; attention weights (batch, heads, seq, keys) beside it, if needed."""
        # (batch, heads, seq, head_dim) each
        query, key, value = map(self.split_heads, self.c_attn(hidden_states).chunk(3, dim=-1))
        key, value = self.remember(key, value, past_key_values)
        return self.mix(query, key, value, mask=mask, need_weights=need_weights)


class GPT2CrossAttention(_Heads):
    """Attention of a decoder's positions to an encoder's; one projection gives keys and values."""

    def __init__(self, config: GPT2Config, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.c_attn = nn.Linear(config.n_embd, 2 * config.n_embd)
        self.q_attn = nn.Linear(config.n_embd, config.n_embd)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        *,
        mask: MaskSpec,
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, n_embd) in and out, over (batch, encoder seq, n_embd); weights beside it, if needed."""

        def project() -> tuple[Tensor, Tensor]:
            key, value = map(self.split_heads, self.c_attn(encoder_hidden_states).chunk(2, dim=-1))
            return key, value

        query = self.split_heads(self.q_attn(hidden_states))
        key, value = self.remember_once(project, past_key_values)
        return self.mix(query, key, value, mask=mask, need_weights=need_weights)


class GPT2MLP(nn.Module):
    """The feed-forward block."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        inner = 4 * config.n_embd if config.n_inner is None else config.n_inner
        self.c_fc = nn.Linear(config.n_embd, inner)
        self.c_proj = residual_projection(inner, config)
        self.act = activation(config.activation_function)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, n_embd) in and out."""
        return self.dropout(self.c_proj(self.act(self.c_fc(hidden_states))))


class GPT2Block(CheckpointedLayer):
    """Each part adds to the residual stream what it makes of the normed stream."""

    def __init__(self, config: GPT2Config, layer_idx: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config, layer_idx)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        if config.add_cross_attention:
            self.crossattention = GPT2CrossAttention(config, layer_idx)
            self.ln_cross_attn = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        encoder_hidden_states: Tensor | None = None,
        encoder_mask: MaskSpec | None = None,
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(batch, seq, n_embd) in and out; beside it the weights of self- and of cross-attention, if needed."""
        shared = {"past_key_values": past_key_values, "need_weights": need_weights}
        mixed, weights = self.attn(self.ln_1(hidden_states), mask=mask, **shared)
        hidden_states = hidden_states + mixed
        cross_weights = None
        if encoder_hidden_states is not None:
            normed = self.ln_cross_attn(hidden_states)
            mixed, cross_weights = self.crossattention(normed, encoder_hidden_states, mask=encoder_mask, **shared)
            hidden_states = hidden_states + mixed
        return hidden_states + self.mlp(self.ln_2(hidden_states)), weights, cross_weights
