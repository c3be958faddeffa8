"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").

Decoder layers of attention and a feed-forward block, each behind a layer norm, over learned positions.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.errors import InputError
from transept.generation import GenerationMixin
from transept.model import PreTrainedModel
from transept.nn import (
    cache_for,
    check_length,
    cross_attention_mask,
    embed_tokens,
    keep_positions,
    look_up,
    paired_cache_for,
    position_ids_from,
    run_layers,
)
from transept.nn.initialization import initialize_module
from transept.outputs import BaseModelOutputWithPastAndCrossAttentions, CausalLMOutputWithCrossAttentions

from .configuration import GPT2Config
from .layers import GPT2Block
from .layout import CONV1D

__all__ = ["GPT2LMHeadModel", "GPT2Model", "GPT2PreTrainedModel"]


class GPT2PreTrainedModel(PreTrainedModel):
    """What the GPT-2 classes share."""

    config_class = GPT2Config
    config: GPT2Config
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    key_map = CONV1D
    _input_embeddings_name = "wte"
    _no_split_modules = ["GPT2Block"]  # noqa: RUF012
    # files of older versions carry the causal mask of each layer
    _keys_to_ignore_on_load_unexpected = ("*attn.bias", "*attn.masked_bias", "*attention.bias", "*attention.masked_bias")
    # a checkpoint without cross-attention may start a decoder that looks at an encoder
    new_on_load = ("*.crossattention.*", "*.ln_cross_attn.*")

    def _init_weights(self, module: nn.Module) -> None:
        initialize_module(module, std=self.config.initializer_range * getattr(module, "initializer_scale", 1.0))


class GPT2Model(GPT2PreTrainedModel):
    """The decoder without a head."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.has_cross_attention, self.max_positions = config.add_cross_attention, config.n_positions
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(GPT2Block(config, layer_idx) for layer_idx in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions | tuple[Any, ...]:
        """Hidden states of every position.

        Args:
            input_ids: (batch, seq) token ids; or else `inputs_embeds`, (batch, seq, n_embd).
            past_key_values: a cache with the tokens before these; it is extended in place.
            attention_mask: (batch, past + seq), 0 at padding; or a whole mask (see `transept.nn.decoder_mask`).
            token_type_ids: (batch, seq) token ids, whose embeddings are added to those of the tokens.
            position_ids: (batch or 1, seq); None: counted from each row's first token.
            encoder_hidden_states: (batch, encoder seq, n_embd), for the cross-attention of `config.add_cross_attention`.
            encoder_attention_mask: (batch, encoder seq), 0 at padding.
            use_cache: make a cache where none is given; None: as the configuration says, and so for the options after it.

        Raises:
            InputError: ids or positions without an embedding, encoder states that no layer looks at, or a mask without them.
        """
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        words = embed_tokens(self.wte, input_ids, inputs_embeds)
        past_key_values = (cache_for if encoder_hidden_states is None else paired_cache_for)(self, use_cache, past_key_values)
        mask = self.attention_mask_for(words, attention_mask, past_key_values, position_ids=position_ids)
        encoder_mask = self._encoder_mask(words, encoder_hidden_states, encoder_attention_mask)
        hidden_states = words + self._positions(words, attention_mask, past_key_values, position_ids)
        if token_type_ids is not None:
            hidden_states = hidden_states + look_up(self.wte, token_type_ids, "token_type_ids", "the vocabulary")
        hidden_states = self.drop(hidden_states)

        output = run_layers(
            self.h,
            hidden_states,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            finish=self.ln_f,
            past_key_values=past_key_values,
            mask=mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_mask=encoder_mask,
        )
        return output if return_dict else output.to_tuple()

    def _positions(
        self, words: Tensor, attention_mask: Tensor | None, past_key_values: Any, position_ids: Tensor | None
    ) -> Tensor:
        """The embeddings of the positions, (batch or 1, seq, n_embd)."""
        if position_ids is None and attention_mask is None:  # what is padded may be longer than the table
            check_length(words, past_key_values, self.max_positions, "n_positions")
        position_ids = position_ids_from(words, attention_mask, past_key_values, position_ids)
        return look_up(self.wpe, position_ids, "position_ids", "the table of `n_positions`", ": truncate the sequence.")

    def _encoder_mask(
        self, words: Tensor, encoder_hidden_states: Tensor | None, encoder_attention_mask: Tensor | None
    ) -> MaskSpec | None:
        if encoder_hidden_states is None:
            if encoder_attention_mask is not None:
                raise InputError("`encoder_attention_mask` is given without `encoder_hidden_states`: give both, or neither.")
            return None
        if not self.has_cross_attention:
            raise InputError(
                "`encoder_hidden_states` needs layers with cross-attention: set `add_cross_attention=True` in the configuration."
            )
        return cross_attention_mask(words, encoder_hidden_states, encoder_attention_mask)


class GPT2LMHeadModel(GPT2PreTrainedModel, GenerationMixin):
    """The decoder with a language-model head."""

    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # noqa: RUF012

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> CausalLMOutputWithCrossAttentions | tuple[Any, ...]:
        """Logits of the next token, (batch, seq, vocab_size); arguments beyond these are `GPT2Model.forward`'s.

        Args:
            labels: (batch, seq) token ids, unshifted, -100 where none counts: asks for a loss.
            logits_to_keep: positions that logits are wanted for (see `transept.nn.keep_positions`); 0: all.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        *_, return_dict = self.output_options(return_dict=return_dict)
        outputs = self.transformer(
            input_ids,
            past_key_values,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            encoder_hidden_states,
            encoder_attention_mask,
            use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.lm_head(keep_positions(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items_in_batch)
        output = CausalLMOutputWithCrossAttentions(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
        )
        return output if return_dict else output.to_tuple()
