"""BERT (https://arxiv.org/abs/1810.04805): an encoder of post-normed layers over words, positions and segments.

As a decoder (`is_decoder`) its attention is causal and keeps a cache, and it may look at another encoder's states
(https://arxiv.org/abs/1907.12461). Layers are in `layers`, task heads in `heads`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transept.attention import MaskSpec
from transept.cache import DynamicCache, EncoderDecoderCache
from transept.errors import InputError
from transept.model import PreTrainedModel
from transept.nn import cache_for, cross_attention_mask, embed_tokens, position_ids_from
from transept.outputs import BaseModelOutputWithPoolingAndCrossAttentions

from .configuration import BertConfig
from .layers import BertEmbeddings, BertEncoder, BertPooler

__all__ = ["BertModel", "BertPreTrainedModel"]


class BertPreTrainedModel(PreTrainedModel):
    """What the BERT classes share."""

    config_class = BertConfig
    config: BertConfig
    base_model_prefix = "bert"
    supports_gradient_checkpointing = True
    _no_split_modules = ["BertEmbeddings", "BertLayer"]  # noqa: RUF012
    _input_embeddings_name = "embeddings.word_embeddings"
    # files of older versions carry the numbers 0, 1, 2, …
    _keys_to_ignore_on_load_unexpected = ("*embeddings.position_ids",)
    # an encoder's checkpoint may lack a pooler, and starts decoders that look at another encoder
    new_on_load = ("pooler.*", "*.pooler.*", "*.crossattention.*", "cls.*")


class BertModel(BertPreTrainedModel):
    """The encoder, or decoder, without a head; `add_pooling_layer=False` leaves the pooler out."""

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.is_decoder, self.has_cross_attention = config.is_decoder, config.add_cross_attention
        self.mask_kind = "causal" if config.is_decoder else "bidirectional"
        self.max_positions = config.max_position_embeddings
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPoolingAndCrossAttentions | tuple[Any, ...]:
        """Hidden states of every position, and the pooled first one.

        Args:
            input_ids: (batch, seq) token ids; or else `inputs_embeds`, (batch, seq, hidden_size).
            attention_mask: (batch, past + seq), 0 at padding; or a whole mask (see `transept.nn.decoder_mask`).
            token_type_ids: (batch or 1, seq), the segment of each token; None: the first.
            position_ids: (batch or 1, seq); None: counted from the start of each row, padding too.
            encoder_hidden_states: (batch, encoder seq, hidden_size), for a decoder's cross-attention.
            encoder_attention_mask: (batch, encoder seq), 0 at padding.
            past_key_values: a cache with the tokens before these; it is extended in place.
            use_cache: make a cache where none is given; None: a decoder does as the configuration says, an encoder doesn't.

        Raises:
            InputError: a sequence past the position table, or what only a decoder (with cross-attention) takes.
        """
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        words = embed_tokens(self.embeddings.word_embeddings, input_ids, inputs_embeds)
        past_key_values = self._cache(use_cache, past_key_values, encoder_hidden_states)
        mask = self.attention_mask_for(words, attention_mask, past_key_values, kind=self.mask_kind)
        encoder_mask = self._encoder_mask(words, encoder_hidden_states, encoder_attention_mask)
        self._check_length(words, past_key_values, position_ids)
        position_ids = position_ids_from(words, None, past_key_values, position_ids)

        encoded = self.encoder(
            self.embeddings(words, token_type_ids, position_ids),
            mask=mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_mask=encoder_mask,
            past_key_values=past_key_values,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        hidden_states = encoded.last_hidden_state
        output = BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=hidden_states,
            pooler_output=None if self.pooler is None else self.pooler(hidden_states),
            hidden_states=encoded.hidden_states,
            past_key_values=past_key_values,
            attentions=encoded.attentions,
            cross_attentions=encoded.cross_attentions,
        )
        return output if return_dict else output.to_tuple()

    def _cache(self, use_cache: bool | None, past_key_values: Any, encoder_hidden_states: Tensor | None) -> Any:
        if not self.is_decoder and use_cache:
            raise InputError(
                "`use_cache=True` asks an encoder for a decoder's cache: set `config.is_decoder=True`, or leave it out."
            )
        cache = cache_for(self, use_cache if self.is_decoder else False, past_key_values)
        if past_key_values is None and cache is not None and encoder_hidden_states is not None:
            return EncoderDecoderCache(cache, DynamicCache())
        return cache

    def _encoder_mask(
        self, words: Tensor, encoder_hidden_states: Tensor | None, encoder_attention_mask: Tensor | None
    ) -> MaskSpec | None:
        if encoder_hidden_states is None:
            if encoder_attention_mask is not None:
                raise InputError("`encoder_attention_mask` is given without `encoder_hidden_states`: give both, or neither.")
            return None
        if not self.has_cross_attention:
            raise InputError(
                "`encoder_hidden_states` needs layers with cross-attention: set `is_decoder=True` and `add_cross_attention=True` in "
                "the configuration."
            )
        return cross_attention_mask(words, encoder_hidden_states, encoder_attention_mask)

    def _check_length(self, words: Tensor, past_key_values: Any, position_ids: Tensor | None) -> None:
        """Refuse a sequence that counting takes past the position table."""
        # comparing a traced length would pin it
        if position_ids is not None or torch.compiler.is_exporting() or torch.jit.is_tracing():
            return
        length = words.shape[1] + (past_key_values.get_seq_length() if past_key_values is not None else 0)
        if length > self.max_positions:
            raise InputError(
                f"The sequence has {length} tokens, and the position table ends at {self.max_positions} "
                "(`max_position_embeddings`): truncate it, as `tokenizer(text, truncation=True)` does."
            )
