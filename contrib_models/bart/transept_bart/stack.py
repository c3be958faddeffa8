"""The two halves of BART, and the embeddings before their layers (https://arxiv.org/abs/1910.13461)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.model import PreTrainedModel
from transept.nn import (
    LearnedPositions,
    ScaledEmbedding,
    cache_for,
    cross_attention_mask,
    embed_tokens,
    paired_cache_for,
    run_layers,
)
from transept.nn.initialization import initialize_module
from transept.outputs import BaseModelOutputWithPastAndCrossAttentions

from .configuration import BartConfig
from .layers import BartDecoderLayer, BartEncoderLayer

__all__ = ["BartDecoder", "BartEncoder", "BartPreTrainedModel", "token_embedding"]


class BartPreTrainedModel(PreTrainedModel):
    """What the BART classes share."""

    config_class = BartConfig
    config: BartConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["BartEncoderLayer", "BartDecoderLayer"]  # noqa: RUF012
    _input_embeddings_name: ClassVar[str] = "shared"
    # files of older versions carry a format's number; the bias belongs to one head's logits
    _keys_to_ignore_on_load_unexpected = ("*encoder.version", "*decoder.version", "final_logits_bias")

    def _init_weights(self, module: nn.Module) -> None:
        initialize_module(module, std=self.config.init_std)


def token_embedding(config: BartConfig) -> nn.Embedding:
    """The table of the vocabulary, whose rows may be scaled."""
    size = (config.vocab_size, config.d_model, config.pad_token_id)
    return ScaledEmbedding(*size, scale=config.d_model**0.5) if config.scale_embedding else nn.Embedding(*size)


class BartEmbeddings(nn.Module):
    """What stands before the layers of a half, and the norm that may stand behind them; a half mixes it in."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.embed_tokens = token_embedding(config)
        # the first two rows are no positions: fairseq counted from the padding's id on
        self.embed_positions = LearnedPositions(config.max_position_embeddings, config.d_model, offset=2)
        self.layernorm_embedding = nn.LayerNorm(config.d_model) if config.older_key("normalize_embedding") else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.layer_norm = nn.LayerNorm(config.d_model) if config.older_key("add_final_layer_norm") else nn.Identity()

    def embed(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        attention_mask: Tensor | MaskSpec | None = None,
        past_key_values: Any = None,
    ) -> Tensor:
        """(batch, seq, d_model), from token ids (batch, seq) or embeddings of the result's shape."""
        words = embed_tokens(self.embed_tokens, input_ids, inputs_embeds)
        positions = self.embed_positions(words, attention_mask, past_key_values)
        return self.dropout(self.layernorm_embedding(words + positions))


class BartEncoder(BartEmbeddings, BartPreTrainedModel):
    """The half that reads: every position sees all others."""

    _input_embeddings_name = "embed_tokens"

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(BartEncoderLayer(config, layer_idx) for layer_idx in range(config.encoder_layers))
        self.layerdrop = config.encoder_layerdrop
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions | tuple[Any, ...]:
        """Hidden states of every position. Positions count padding too, on whichever side.

        Args:
            input_ids: (batch, seq) token ids; or else `inputs_embeds`, (batch, seq, d_model).
            attention_mask: (batch, seq), 0 at padding; or a whole mask (see `transept.nn.decoder_mask`).
        """
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        hidden_states = self.embed(input_ids, inputs_embeds)
        output = run_layers(
            self.layers,
            hidden_states,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            layerdrop=self.layerdrop,
            finish=self.layer_norm,
            mask=self.attention_mask_for(hidden_states, attention_mask, kind="bidirectional"),
        )
        return output if return_dict else output.to_tuple()


class BartDecoder(BartEmbeddings, BartPreTrainedModel):
    """The half that writes: a position sees those before it, and the encoder's states."""

    _input_embeddings_name = "embed_tokens"

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(BartDecoderLayer(config, layer_idx) for layer_idx in range(config.decoder_layers))
        self.layerdrop = config.decoder_layerdrop
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions | tuple[Any, ...]:
        """Hidden states of every position. Positions are counted from each row's first token.

        Args:
            input_ids: (batch, seq) token ids; or else `inputs_embeds`, (batch, seq, d_model).
            attention_mask: (batch, past + seq), 0 at padding; or a whole mask (see `transept.nn.decoder_mask`).
            encoder_hidden_states: (batch, encoder seq, d_model); None: the decoder looks at no encoder.
            encoder_attention_mask: (batch, encoder seq), 0 at padding.
            past_key_values: a cache with the tokens before these; it is extended in place.
            use_cache: make a cache where none is given; None: as the configuration says, and so for the options after it.
        """
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        crosses = encoder_hidden_states is not None
        past_key_values = (paired_cache_for if crosses else cache_for)(self, use_cache, past_key_values)
        hidden_states = self.embed(input_ids, inputs_embeds, attention_mask, past_key_values)
        output = run_layers(
            self.layers,
            hidden_states,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            layerdrop=self.layerdrop,
            finish=self.layer_norm,
            past_key_values=past_key_values,
            mask=self.attention_mask_for(hidden_states, attention_mask, past_key_values),
            encoder_hidden_states=encoder_hidden_states,
            cross_mask=cross_attention_mask(hidden_states, encoder_hidden_states, encoder_attention_mask) if crosses else None,
        )
        return output if return_dict else output.to_tuple()
