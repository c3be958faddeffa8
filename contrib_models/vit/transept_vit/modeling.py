"""The Vision Transformer (https://arxiv.org/abs/2010.11929): patches of an image as words, an encoder of pre-normed layers.

Embeddings are in `embeddings`, task heads in `heads`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.errors import InputError
from transept.model import PreTrainedModel
from transept.nn import AttentionHeads, CheckpointedLayer, OutputCollector, activation
from transept.outputs import BaseModelOutputWithPooling

from .configuration import ViTConfig
from .embeddings import ViTEmbeddings

__all__ = ["ViTLayer", "ViTModel", "ViTPreTrainedModel"]


class ViTSelfAttention(AttentionHeads):
    """Multi-head attention of every patch over all of them."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config.hidden_size // config.num_attention_heads, dropout=config.attention_probs_dropout_prob)
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)

    def forward(self, hidden_states: Tensor, *, mask: MaskSpec, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size), and probabilities (batch, heads, seq, seq) or None."""
        query, key, value = (self.split_heads(part(hidden_states)) for part in (self.query, self.key, self.value))
        return self.attend(query, key, value, mask=mask, need_weights=need_weights)


class ViTOutput(nn.Module):
    """A projection and dropout; what comes before it is the block's."""

    def __init__(self, config: ViTConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, computed: Tensor) -> Tensor:
        """(batch, seq, hidden_size) from (batch, seq, width)."""
        return self.dropout(self.dense(computed))


class ViTAttention(nn.Module):
    """An attention block."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.attention = ViTSelfAttention(config)
        self.output = ViTOutput(config, config.hidden_size)

    def forward(self, hidden_states: Tensor, *, mask: MaskSpec, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size) in and out; attention weights beside it, if needed."""
        mixed, weights = self.attention(hidden_states, mask=mask, need_weights=need_weights)
        return self.output(mixed), weights


class ViTIntermediate(nn.Module):
    """The wide half of a feed-forward block."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act_fn = activation(config.hidden_act)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, hidden_size) in, (batch, seq, intermediate_size) out."""
        return self.act_fn(self.dense(hidden_states))


class ViTLayer(CheckpointedLayer):
    """Attention, then feed-forward; each adds to the residual stream what it makes of the normed stream."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.attention = ViTAttention(config)
        self.intermediate = ViTIntermediate(config)
        self.output = ViTOutput(config, config.intermediate_size)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: Tensor, *, mask: MaskSpec, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size) in and out; attention weights (batch, heads, seq, seq) beside it, if needed."""
        mixed, weights = self.attention(self.layernorm_before(hidden_states), mask=mask, need_weights=need_weights)
        hidden_states = hidden_states + mixed
        return hidden_states + self.output(self.intermediate(self.layernorm_after(hidden_states))), weights


class ViTEncoder(nn.Module):
    """The layers, one after another."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(ViTLayer(config) for _ in range(config.num_hidden_layers))


class ViTPooler(nn.Module):
    """A summary of the image, read at its own token."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.pooler_output_size or config.hidden_size)
        self.act_fn = activation(config.pooler_act)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, pooler_output_size) from (batch, seq, hidden_size)."""
        return self.act_fn(self.dense(hidden_states[:, 0]))


class ViTPreTrainedModel(PreTrainedModel):
    """What the Vision Transformer classes share."""

    config_class = ViTConfig
    config: ViTConfig
    base_model_prefix = "vit"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _no_split_modules = ["ViTEmbeddings", "ViTLayer"]  # noqa: RUF012
    _input_embeddings_name = "embeddings.patch_embeddings"
    # a checkpoint of another task may lack the pooler and the token of masked patches
    new_on_load = ("pooler.*", "*.pooler.*", "embeddings.mask_token", "*.embeddings.mask_token")
    _keys_to_ignore_on_load_unexpected = ("pooler.*", "*.pooler.*", "embeddings.mask_token", "*.embeddings.mask_token")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ViTEmbeddings):
            for parameter in (module.cls_token, module.position_embeddings):
                nn.init.trunc_normal_(parameter, std=self.config.initializer_range)


class ViTModel(ViTPreTrainedModel):
    """The encoder without a head; `add_pooling_layer=False` leaves the pooler out, `use_mask_token` is for masked patches."""

    def __init__(self, config: ViTConfig, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
        super().__init__(config)
        self.embeddings = ViTEmbeddings(config, use_mask_token)
        self.encoder = ViTEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = ViTPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Hidden states of the image's token and every patch, (batch, 1 + patches, hidden_size), and the pooled first one.

        Args:
            pixel_values: (batch, channels, height, width), floats.
            bool_masked_pos: (batch, patches), True where a patch is hidden.
            interpolate_pos_encoding: take images of another size than the model's, with interpolated positions.
            attention_mask: (batch, 1 + patches), 0 where nobody looks; or a whole mask (see `transept.nn.decoder_mask`).

        Raises:
            InputError: no image, or one of another shape, dtype or size.
        """
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        if pixel_values is None:
            raise InputError("Give `pixel_values`: an image processor makes them.")
        hidden_states = self.embeddings(pixel_values, bool_masked_pos, bool(interpolate_pos_encoding))
        mask = self.attention_mask_for(hidden_states, attention_mask, kind="bidirectional")

        collected = OutputCollector(output_hidden_states, output_attentions)
        for layer in self.encoder.layer:
            layer_input = hidden_states
            hidden_states, weights = layer(layer_input, mask=mask, need_weights=output_attentions)
            collected.add(layer_input, weights)
        collected.add(hidden_states)
        hidden_states = self.layernorm(hidden_states)
        output = BaseModelOutputWithPooling(
            last_hidden_state=hidden_states,
            pooler_output=None if self.pooler is None else self.pooler(hidden_states),
            hidden_states=collected.hidden_states,
            attentions=collected.attentions,
        )
        return output if return_dict else output.to_tuple()
