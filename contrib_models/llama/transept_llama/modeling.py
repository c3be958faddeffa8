"""Llama (https://arxiv.org/abs/2302.13971; grouped queries: https://arxiv.org/abs/2307.09288).

Decoder layers of attention over rotary positions and a gated feed-forward block, each behind a root mean square norm.
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

from .configuration import LlamaConfig

__all__ = [
    "LlamaDecoderLayer",
    "LlamaForCausalLM",
    "LlamaForQuestionAnswering",
    "LlamaForSequenceClassification",
    "LlamaForTokenClassification",
    "LlamaModel",
    "LlamaPreTrainedModel",
]


class LlamaDecoderLayer(PreNormLayer):
    """Grouped attention over rotary positions, and a gated feed-forward block."""

    def __init__(self, config: LlamaConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(
            config.hidden_size,
            num_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            layer_idx=layer_idx,
            bias=config.attention_bias,
            dropout=config.attention_dropout or 0.0,
        )
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size, config.hidden_act, bias=config.mlp_bias)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class LlamaPreTrainedModel(PreTrainedModel):
    """What the Llama classes share."""

    config_class = LlamaConfig
    config: LlamaConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["LlamaDecoderLayer"]  # noqa: RUF012
    # files of older versions carry the frequencies of each layer
    _keys_to_ignore_on_load_unexpected = ("*rotary_emb.inv_freq",)


class LlamaModel(Decoder, LlamaPreTrainedModel):
    """The decoder without a head."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(LlamaDecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(
            config.rope_parameters, head_dim=config.head_dim, max_position_embeddings=config.max_position_embeddings
        )
        self.post_init()


class LlamaForCausalLM(ForCausalLM, LlamaPreTrainedModel, GenerationMixin):
    """The decoder with a language-model head."""

    base_model_class = LlamaModel


class LlamaForSequenceClassification(ForSequenceClassification, LlamaPreTrainedModel):
    """The decoder with one prediction a sequence."""

    base_model_class = LlamaModel


class LlamaForTokenClassification(ForTokenClassification, LlamaPreTrainedModel):
    """The decoder with one prediction a token."""

    base_model_class = LlamaModel


class LlamaForQuestionAnswering(ForQuestionAnswering, LlamaPreTrainedModel):
    """The decoder with the span of an answer."""

    base_model_class = LlamaModel
    base_model_prefix = "transformer"
