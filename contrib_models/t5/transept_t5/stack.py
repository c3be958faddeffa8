"""The stack of blocks that is T5's encoder, and its decoder (https://arxiv.org/abs/1910.10683)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.errors import InputError
from transept.model import PreTrainedModel
from transept.nn import cross_attention_mask, embed_tokens, paired_cache_for, run_layers, shift_tokens_right
from transept.nn.initialization import initialize_module
from transept.outputs import BaseModelOutputWithPastAndCrossAttentions

from .configuration import T5Config
from .layers import T5Block, T5LayerNorm
from .relative_bias import add_position_bias

__all__ = ["T5PreTrainedModel", "T5Stack"]


class T5PreTrainedModel(PreTrainedModel):
    """What the T5 classes share."""

    config_class = T5Config
    config: T5Config
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _no_split_modules = ["T5Block"]  # noqa: RUF012
    _keep_in_fp32_modules = ("wo",)
    _input_embeddings_name = "shared"
    # old files carry a table for cross-attention, which never read it
    _keys_to_ignore_on_load_unexpected = ("*EncDecAttention.relative_attention_bias.weight",)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Mesh TensorFlow's: N(0, 1 / inputs) for linear layers, N(0, 1) for embeddings; `init_scale` on a module tells others."""
        factor = self.config.initializer_factor
        std = module.in_features**-0.5 if isinstance(module, nn.Linear) else 1.0
        initialize_module(module, std=factor * std * getattr(module, "init_scale", 1.0))
        if isinstance(module, T5LayerNorm):
            module.weight.fill_(factor)

    def _shift_right(self, input_ids: Tensor) -> Tensor:
        """The decoder's input for labels (batch, seq): the start token and all but the last of them, padding in place of -100."""
        return shift_tokens_right(input_ids, self.config.pad_token_id, self.config.decoder_start_token_id)


class T5Stack(T5PreTrainedModel):
    """The blocks of an encoder or of a decoder, with the embedding before them and a norm behind."""

    _input_embeddings_name = "embed_tokens"

    def __init__(self, config: T5Config, *, is_decoder: bool) -> None:
        super().__init__(config)
        self.is_decoder = is_decoder
        num_layers = config.num_decoder_layers if is_decoder else config.num_layers
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.block = nn.ModuleList(T5Block(config, layer_idx, is_decoder=is_decoder) for layer_idx in range(num_layers or 0))
        self.final_layer_norm = T5LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.buckets = {
            "bidirectional": not is_decoder,
            "num_buckets": config.relative_attention_num_buckets,
            "max_distance": config.relative_attention_max_distance,
        }
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions | tuple[Any, ...]:
        """Hidden states of every position.

        Args:
            input_ids: (batch, seq) token ids; or else `inputs_embeds`, (batch, seq, d_model).
            attention_mask: (batch, past + seq), 0 at padding; or a whole mask (see `transept.nn.decoder_mask`), to which the
                position bias is added all the same.
            encoder_hidden_states: (batch, encoder seq, d_model), for a decoder; None: it looks at no encoder.
            encoder_attention_mask: (batch, encoder seq), 0 at padding.
            past_key_values: an `EncoderDecoderCache` with the decoder's tokens before these; it is extended in place.
            use_cache: make a cache where none is given; None: as the configuration says, and so for the options after it.
        """
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        hidden_states = self.dropout(embed_tokens(self.embed_tokens, input_ids, inputs_embeds))
        past_key_values = self._cache(use_cache, past_key_values)
        kind = "causal" if self.is_decoder else "bidirectional"
        mask = self.attention_mask_for(hidden_states, attention_mask, past_key_values, kind=kind)
        table = self.block[0].layer[0].SelfAttention.relative_attention_bias
        mask = add_position_bias(mask, table, device=hidden_states.device, **self.buckets)
        cross_mask = None
        if encoder_hidden_states is not None:
            cross_mask = cross_attention_mask(hidden_states, encoder_hidden_states, encoder_attention_mask)

        output = run_layers(
            self.block,
            hidden_states,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            finish=lambda hidden_states: self.dropout(self.final_layer_norm(hidden_states)),
            past_key_values=past_key_values,
            mask=mask,
            encoder_hidden_states=encoder_hidden_states,
            cross_mask=cross_mask,
        )
        return output if return_dict else output.to_tuple()

    def _cache(self, use_cache: bool | None, past_key_values: Any) -> Any:
        if not self.is_decoder:
            if use_cache or past_key_values is not None:
                raise InputError("An encoder has no cache: leave `use_cache` and `past_key_values` out.")
            return None
        return paired_cache_for(self, use_cache, past_key_values)
