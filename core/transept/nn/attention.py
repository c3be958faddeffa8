"""Attention blocks: heads that meet a cache and attend, under whatever projections a family has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..attention import Attention, MaskSpec
from .rope import apply_rotary

__all__ = ["AttentionHeads", "SelfAttention"]


class AttentionHeads(nn.Module):
    """Base of every attention block (https://arxiv.org/abs/1706.03762): what happens between the projections in and out.

    A family's block brings the projections, under its checkpoints' names.

    Args:
        head_dim: size of a head.
        layer_idx: which layer of the cache is this one's; None: it has none.
        scale: of the scores; None: `head_dim ** -0.5`.
        softcap: scores are squashed to ±softcap by tanh; None: they aren't.
        dropout: probability, while training, of dropping an attention weight.
    """

    def __init__(
        self,
        head_dim: int,
        *,
        layer_idx: int | None = None,
        scale: float | None = None,
        softcap: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = Attention(softcap=softcap is not None)
        self.head_dim = head_dim
        self.layer_idx = layer_idx
        self.scale = head_dim**-0.5 if scale is None else scale
        self.softcap = softcap
        self.dropout_probability = dropout

    def split_heads(self, projected: Tensor) -> Tensor:
        """(batch, heads, seq, head_dim) from (batch, seq, heads * head_dim)."""
        return projected.view(*projected.shape[:-1], -1, self.head_dim).transpose(1, 2)

    def remember(self, key: Tensor, value: Tensor, past_key_values: Any) -> tuple[Tensor, Tensor]:
        """Give a self-attention's new keys and values to the cache, if there is one, and get all that queries may see."""
        if past_key_values is None:
            return key, value
        cache = getattr(past_key_values, "self_attention_cache", past_key_values)  # the peer's pair of caches has no update
        found: tuple[Tensor, Tensor] = cache.update(key, value, self.layer_idx)
        return found

    def remember_once(self, project: Callable[[], tuple[Tensor, Tensor]], past_key_values: Any) -> tuple[Tensor, Tensor]:
        """A cross-attention's keys and values: from an `EncoderDecoderCache` that has them, else projected, and kept there.

        Args:
            project: gives keys and values, (batch, kv_heads, encoder seq, head_dim) each, from the encoder's states.
        """
        cache = getattr(past_key_values, "cross_attention_cache", None)
        if cache is None:
            return project()
        if past_key_values.is_updated.get(self.layer_idx):
            held = cache.layers[self.layer_idx]
            return held.keys, held.values
        found: tuple[Tensor, Tensor] = cache.update(*project(), self.layer_idx)
        past_key_values.is_updated[self.layer_idx] = True
        return found

    def keys_and_values(
        self,
        project_key: Callable[[Tensor], Tensor],
        project_value: Callable[[Tensor], Tensor],
        hidden_states: Tensor,
        key_value_states: Tensor | None,
        past_key_values: Any,
    ) -> tuple[Tensor, Tensor]:
        """All that queries may see, (batch, kv_heads, keys, head_dim) each: of the sequence itself with what a cache holds of it,
        or of an encoder's `key_value_states`, (batch, encoder seq, hidden_size), projected once.
        """

        def project(states: Tensor) -> tuple[Tensor, Tensor]:
            return self.split_heads(project_key(states)), self.split_heads(project_value(states))

        if key_value_states is None:
            return self.remember(*project(hidden_states), past_key_values)
        return self.remember_once(lambda: project(key_value_states), past_key_values)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, mask: MaskSpec, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Mix positions, and put the heads side by side.

        Args:
            query: (batch, heads, seq, head_dim).
            key, value: (batch, kv_heads, keys, head_dim).
            mask: which keys each query sees.
            need_weights: return the attention probabilities too.

        Returns:
            (batch, seq, heads * head_dim), and probabilities (batch, heads, seq, keys) or None.
        """
        mixed, weights = self.attention(
            query,
            key,
            value,
            mask=mask,
            scale=self.scale,
            softcap=self.softcap,
            dropout=self.dropout_probability if self.training else 0.0,
            need_weights=need_weights,
        )
        return mixed.transpose(1, 2).flatten(2), weights


class SelfAttention(AttentionHeads):
    """Multi-head attention (https://arxiv.org/abs/1706.03762), with fewer key than query heads where the family has it
    (https://arxiv.org/abs/2305.13245), over rotated queries and keys.

    Args:
        hidden_size: width of the residual stream.
        num_heads: query heads.
        num_key_value_heads: key and value heads; divides `num_heads`.
        head_dim: size of a head; `num_heads * head_dim` need not be `hidden_size`.
        layer_idx: which layer of the cache is this one's.
        bias: the projections in have one.
        output_bias: the projection out has one; None: as `bias`.
        scale: of the scores; None: `head_dim ** -0.5`.
        softcap: scores are squashed to ±softcap by tanh; None: they aren't.
        dropout: probability, while training, of dropping an attention weight.

    A family that normalises its heads sets `q_norm` and `k_norm` to modules over (…, head_dim).
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        num_heads: int,
        num_key_value_heads: int,
        head_dim: int,
        layer_idx: int,
        bias: bool = False,
        output_bias: bool | None = None,
        scale: float | None = None,
        softcap: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(head_dim, layer_idx=layer_idx, scale=scale, softcap=softcap, dropout=dropout)
        self.q_proj = nn.Linear(hidden_size, num_heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden_size, num_key_value_heads * head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden_size, num_key_value_heads * head_dim, bias=bias)
        self.o_proj = nn.Linear(num_heads * head_dim, hidden_size, bias=bias if output_bias is None else output_bias)
        self.q_norm: nn.Module | None = None
        self.k_norm: nn.Module | None = None

    def project(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (batch, heads, seq, head_dim) each, from (batch, seq, hidden_size)."""
        split = self.split_heads
        return split(self.q_proj(hidden_states)), split(self.k_proj(hidden_states)), split(self.v_proj(hidden_states))

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        position_embeddings: tuple[Tensor, Tensor],
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Mix positions.

        Args:
            hidden_states: (batch, seq, hidden_size).
            mask: which keys each query sees.
            position_embeddings: what `RotaryEmbedding` gave for these positions.
            past_key_values: a cache; it gets this layer's keys and values, and gives back all there are.
            need_weights: return the attention probabilities too.

        Returns:
            (batch, seq, hidden_size), and probabilities (batch, num_heads, seq, keys) or None.
        """
        query, key, value = self.project(hidden_states)
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = apply_rotary(query, key, *position_embeddings)
        key, value = self.remember(key, value, past_key_values)
        mixed, weights = self.attend(query, key, value, mask=mask, need_weights=need_weights)
        return self.o_proj(mixed), weights
