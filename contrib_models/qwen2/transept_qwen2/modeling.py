"""Qwen2 (https://arxiv.org/abs/2407.10671).

Decoder layers of grouped attention over rotary positions, with biases on queries, keys and values, and a gated feed-forward block,
each behind a root mean square norm. The later layers may attend within a window.
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

from .configuration import Qwen2Config

__all__ = [
    "Qwen2DecoderLayer",
    "Qwen2ForCausalLM",
    "Qwen2ForQuestionAnswering",
    "Qwen2ForSequenceClassification",
    "Qwen2ForTokenClassification",
    "Qwen2Model",
    "Qwen2PreTrainedModel",
]


def head_dim_of(config: Qwen2Config) -> int:
    """Size of a head: the stream's share, unless the file says `head_dim`."""
    return int(config.get("head_dim") or config.hidden_size // config.num_attention_heads)


class Qwen2DecoderLayer(PreNormLayer):
    """Grouped attention over rotary positions, its projections in with biases, and a gated feed-forward block."""

    def __init__(self, config: Qwen2Config, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(
            config.hidden_size,
            num_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=head_dim_of(config),
            layer_idx=layer_idx,
            bias=True,
            output_bias=False,
            dropout=config.attention_dropout,
        )
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class Qwen2PreTrainedModel(PreTrainedModel):
    """What the Qwen2 classes share."""

    config_class = Qwen2Config
    config: Qwen2Config
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["Qwen2DecoderLayer"]  # noqa: RUF012


class Qwen2Model(Decoder, Qwen2PreTrainedModel):
    """The decoder without a head."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(Qwen2DecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(
            config.rope_parameters, head_dim=head_dim_of(config), max_position_embeddings=config.max_position_embeddings
        )
        self.post_init()


class Qwen2ForCausalLM(ForCausalLM, Qwen2PreTrainedModel, GenerationMixin):
    """The decoder with a language-model head."""

    base_model_class = Qwen2Model


class Qwen2ForSequenceClassification(ForSequenceClassification, Qwen2PreTrainedModel):
    """The decoder with one prediction a sequence."""

    base_model_class = Qwen2Model


class Qwen2ForTokenClassification(ForTokenClassification, Qwen2PreTrainedModel):
    """The decoder with one prediction a token."""

    base_model_class = Qwen2Model


class Qwen2ForQuestionAnswering(ForQuestionAnswering, Qwen2PreTrainedModel):
    """The decoder with the span of an answer."""

    base_model_class = Qwen2Model
    base_model_prefix = "transformer"
