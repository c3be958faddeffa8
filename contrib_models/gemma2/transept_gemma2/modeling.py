"""Gemma 2 (https://arxiv.org/abs/2408.00118).

Decoder layers that attend to everything before them and within a window by turns, and a gated feed-forward block, each between
two root mean square norms. Attention scores and logits are capped by a tanh; embeddings are scaled up.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.generation import GenerationMixin
from transept.model import PreTrainedModel
from transept.nn import (
    CheckpointedLayer,
    Decoder,
    ForCausalLM,
    ForSequenceClassification,
    ForTokenClassification,
    GatedMLP,
    RotaryEmbedding,
    ScaledEmbedding,
    SelfAttention,
)
from transept.nn.initialization import initialize_module

from .configuration import Gemma2Config

__all__ = [
    "Gemma2DecoderLayer",
    "Gemma2ForCausalLM",
    "Gemma2ForSequenceClassification",
    "Gemma2ForTokenClassification",
    "Gemma2Model",
    "Gemma2PreTrainedModel",
]


class Gemma2RMSNorm(nn.Module):
    """Root mean square norm (https://arxiv.org/abs/1910.07467) whose gain is stored less one, so that weight decay pulls it to one.

    All of it is done in float32, the gain too; the result is rounded once.
    """

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size))
        self.eps = eps

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(…, hidden_size) in, the same shape and dtype out."""
        gain = 1.0 + self.weight.float()
        return F.rms_norm(hidden_states.float(), gain.shape, gain, self.eps).to(hidden_states.dtype)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, eps={self.eps}"


class Gemma2DecoderLayer(CheckpointedLayer):
    """Attention, then feed-forward; each adds to the residual stream the normed of what it makes of the normed stream."""

    def __init__(self, config: Gemma2Config, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(
            config.hidden_size,
            num_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            layer_idx=layer_idx,
            bias=config.attention_bias,
            scale=config.query_pre_attn_scalar**-0.5,
            softcap=config.attn_logit_softcapping,
            dropout=config.attention_dropout or 0.0,
        )
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size, config.hidden_activation)
        self.input_layernorm = Gemma2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = Gemma2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.pre_feedforward_layernorm = Gemma2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_feedforward_layernorm = Gemma2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        position_embeddings: tuple[Tensor, Tensor],
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size) in and out; attention weights (batch, heads, seq, keys) beside it, if needed."""
        mixed, weights = self.self_attn(
            self.input_layernorm(hidden_states),
            mask=mask,
            position_embeddings=position_embeddings,
            past_key_values=past_key_values,
            need_weights=need_weights,
        )
        hidden_states = hidden_states + self.post_attention_layernorm(mixed)
        fed = self.mlp(self.pre_feedforward_layernorm(hidden_states))
        return hidden_states + self.post_feedforward_layernorm(fed), weights


class Gemma2PreTrainedModel(PreTrainedModel):
    """What the Gemma 2 classes share."""

    config_class = Gemma2Config
    config: Gemma2Config
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Gemma2DecoderLayer"]  # noqa: RUF012

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Gemma2RMSNorm):
            nn.init.zeros_(module.weight)
        else:
            initialize_module(module, std=self.config.initializer_range)


class Gemma2Model(Decoder, Gemma2PreTrainedModel):
    """The decoder without a head."""

    def __init__(self, config: Gemma2Config) -> None:
        super().__init__(config)
        self.mask_kind = "bidirectional" if config.use_bidirectional_attention else "causal"
        self.embed_tokens = ScaledEmbedding(
            config.vocab_size, config.hidden_size, config.pad_token_id, scale=config.hidden_size**0.5
        )
        self.layers = nn.ModuleList(Gemma2DecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers))
        self.norm = Gemma2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(
            config.rope_parameters, head_dim=config.head_dim, max_position_embeddings=config.max_position_embeddings
        )
        self.post_init()


class Gemma2ForCausalLM(ForCausalLM, Gemma2PreTrainedModel, GenerationMixin):
    """The decoder with a language-model head."""

    base_model_class = Gemma2Model

    def __init__(self, config: Gemma2Config) -> None:
        super().__init__(config)
        self.softcap = config.final_logit_softcapping

    def scores(self, hidden_states: Tensor) -> Tensor:
        logits = super().scores(hidden_states)
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


class Gemma2ForSequenceClassification(ForSequenceClassification, Gemma2PreTrainedModel):
    """The decoder with one prediction a sequence."""

    base_model_class = Gemma2Model


class Gemma2ForTokenClassification(ForTokenClassification, Gemma2PreTrainedModel):
    """The decoder with one prediction a token."""

    base_model_class = Gemma2Model
