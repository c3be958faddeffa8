"""Qwen3 (https://arxiv.org/abs/2505.09388).

Decoder layers of grouped attention over rotary positions, with norms on each head's queries and keys, and a gated feed-forward
block, each behind a root mean square norm. The later layers may attend within a window.
"""

from __future__ import annotations

from torch import nn

from transept.generation import GenerationMixin
from transept.model import PreTrainedModel
from transept.nn import (
    Decoder,
    ForCausalLM,
    ForQuestionAnswering,
    ForSequenceClassification,
    ForTokenClassification,
    GatedMLP,
    PreNormLayer,
    RMSNorm,
    RotaryEmbedding,
    SelfAttention,
)

from .configuration import Qwen3Config

__all__ = [
    "Qwen3DecoderLayer",
    "Qwen3ForCausalLM",
    "Qwen3ForQuestionAnswering",
    "Qwen3ForSequenceClassification",
    "Qwen3ForTokenClassification",
    "Qwen3Model",
    "Qwen3PreTrainedModel",
]


class Qwen3DecoderLayer(PreNormLayer):
    """Grouped attention over rotary positions, its queries and keys normalised head by head, and a gated feed-forward block."""

    def __init__(self, config: Qwen3Config, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(
            config.hidden_size,
            num_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            layer_idx=layer_idx,
            bias=config.attention_bias,
            dropout=config.attention_dropout,
        )
        self.self_attn.q_norm = RMSNorm(config.head_dim, eps=config.rms_norm_eps)
        self.self_attn.k_norm = RMSNorm(config.head_dim, eps=config.rms_norm_eps)
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class Qwen3PreTrainedModel(PreTrainedModel):
    """What the Qwen3 classes share."""

    config_class = Qwen3Config
    config: Qwen3Config
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Qwen3DecoderLayer"]  # noqa: RUF012


class Qwen3Model(Decoder, Qwen3PreTrainedModel):
    """The decoder without a head."""

    def __init__(self, config: Qwen3Config) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(Qwen3DecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(
            config.rope_parameters, head_dim=config.head_dim, max_position_embeddings=config.max_position_embeddings
        )
        self.post_init()


class Qwen3ForCausalLM(ForCausalLM, Qwen3PreTrainedModel, GenerationMixin):
    """The decoder with a language-model head."""

    base_model_class = Qwen3Model


class Qwen3ForSequenceClassification(ForSequenceClassification, Qwen3PreTrainedModel):
    """The decoder with one prediction a sequence."""

    base_model_class = Qwen3Model


class Qwen3ForTokenClassification(ForTokenClassification, Qwen3PreTrainedModel):
    """The decoder with one prediction a token."""

    base_model_class = Qwen3Model


class Qwen3ForQuestionAnswering(ForQuestionAnswering, Qwen3PreTrainedModel):
    """The decoder with the span of an answer."""

    base_model_class = Qwen3Model
    base_model_prefix = "transformer"
