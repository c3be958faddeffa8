"""Mistral (https://arxiv.org/abs/2310.06825).

Decoder layers of grouped attention over rotary positions, each query on a window of the keys before it, and a gated feed-forward
block, each behind a root mean square norm.
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

from .configuration import MistralConfig

__all__ = [
    "MistralDecoderLayer",
    "MistralForCausalLM",
    "MistralForQuestionAnswering",
    "MistralForSequenceClassification",
    "MistralForTokenClassification",
    "MistralModel",
    "MistralPreTrainedModel",
]


class MistralDecoderLayer(PreNormLayer):
    """Grouped attention over rotary positions, and a gated feed-forward block; no biases."""

    def __init__(self, config: MistralConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(
            config.hidden_size,
            num_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            layer_idx=layer_idx,
            dropout=config.attention_dropout,
        )
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class MistralPreTrainedModel(PreTrainedModel):
    """What the Mistral classes share."""

    config_class = MistralConfig
    config: MistralConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MistralDecoderLayer"]  # noqa: RUF012
    # files of older versions carry the frequencies of each layer
    _keys_to_ignore_on_load_unexpected = ("*rotary_emb.inv_freq",)


class MistralModel(Decoder, MistralPreTrainedModel):
    """The decoder without a head."""

    def __init__(self, config: MistralConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(MistralDecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(
            config.rope_parameters, head_dim=config.head_dim, max_position_embeddings=config.max_position_embeddings
        )
        self.post_init()


class MistralForCausalLM(ForCausalLM, MistralPreTrainedModel, GenerationMixin):
    """The decoder with a language-model head."""

    base_model_class = MistralModel


class MistralForSequenceClassification(ForSequenceClassification, MistralPreTrainedModel):
    """The decoder with one prediction a sequence."""

    base_model_class = MistralModel


class MistralForTokenClassification(ForTokenClassification, MistralPreTrainedModel):
    """The decoder with one prediction a token."""

    base_model_class = MistralModel


class MistralForQuestionAnswering(ForQuestionAnswering, MistralPreTrainedModel):
    """The decoder with the span of an answer."""

    base_model_class = MistralModel
