"""The self-attention block of decoder families with rotary positions."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..attention import Attention, MaskSpec
from .rope import apply_rotary

__all__ = ["SelfAttention"]


class SelfAttention(nn.Module):
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
        super().__init__()
        self.q_proj = nn.Linear(hidden_size, num_heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden_size, num_key_value_heads * head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden_size, num_key_value_heads * head_dim, bias=bias)
        self.o_proj = nn.Linear(num_heads * head_dim, hidden_size, bias=bias if output_bias is None else output_bias)
        self.q_norm: nn.Module | None = None
        self.k_norm: nn.Module | None = None
        self.attention = Attention()
        self.head_dim = head_dim
        self.layer_idx = layer_idx
        self.scale = head_dim**-0.5 if scale is None else scale
        self.softcap = softcap
        self.dropout = dropout

    def project(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (batch, heads, seq, head_dim) each, from (batch, seq, hidden_size)."""
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query = self.q_proj(hidden_states).view(shape)
        key = self.k_proj(hidden_states).view(shape)
        value = self.v_proj(hidden_states).view(shape)
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

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
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        mixed, weights = self.attention(
            query,
            key,
            value,
            mask=mask,
            scale=self.scale,
            softcap=self.softcap,
            dropout=self.dropout if self.training else 0.0,
            need_weights=need_weights,
        )
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), weights
