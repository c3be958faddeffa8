"""Llama (https://arxiv.org/abs/2302.13971; grouped queries: https://arxiv.org/abs/2307.09288).

Decoder layers of attention over rotary positions and a gated feed-forward block, each behind a root mean square norm.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.generation import GenerationMixin
from transept.model import PreTrainedModel
from transept.nn import (
    CheckpointedLayer,
    ForQuestionAnswering,
    ForSequenceClassification,
    ForTokenClassification,
    GatedMLP,
    OutputCollector,
    RMSNorm,
    RotaryEmbedding,
    SelfAttention,
    cache_for,
    embed_tokens,
    keep_positions,
    position_ids_from,
)
from transept.outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

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


class LlamaDecoderLayer(CheckpointedLayer):
    """Attention, then feed-forward; each adds to the residual stream what it makes of the normed stream."""

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
        hidden_states = hidden_states + mixed
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states)), weights


class LlamaPreTrainedModel(PreTrainedModel):
    """What the Llama classes share."""

    config_class = LlamaConfig
    config: LlamaConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["LlamaDecoderLayer"]  # noqa: RUF012
    # files of older versions carry the frequencies of each layer
    _keys_to_ignore_on_load_unexpected = ("*rotary_emb.inv_freq",)


class LlamaModel(LlamaPreTrainedModel):
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

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPast | tuple[Any, ...]:
        """Hidden states of every position.

        Args:
            input_ids: (batch, seq) token ids; or else `inputs_embeds`, (batch, seq, hidden_size).
            attention_mask: (batch, past + seq), 0 at padding; or a whole mask (see `transept.nn.decoder_mask`).
            position_ids: (batch or 1, seq); None: counted from each row's first token.
            past_key_values: a cache with the tokens before these; it is extended in place.
            use_cache: make a cache where none is given; None: as the configuration says, and so for the options after it.
        """
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        hidden_states = embed_tokens(self.embed_tokens, input_ids, inputs_embeds)
        past_key_values = cache_for(self, use_cache, past_key_values)
        mask = self.decoder_mask(hidden_states, attention_mask, past_key_values, position_ids=position_ids)
        position_ids = position_ids_from(hidden_states, attention_mask, past_key_values, position_ids)
        position_embeddings = self.rotary_emb(hidden_states, position_ids)

        collected = OutputCollector(output_hidden_states, output_attentions)
        for layer in self.layers:
            layer_input = hidden_states
            hidden_states, weights = layer(
                layer_input,
                mask=mask,
                position_embeddings=position_embeddings,
                past_key_values=past_key_values,
                need_weights=output_attentions,
            )
            collected.add(layer_input, weights)
        hidden_states = self.norm(hidden_states)
        collected.add(hidden_states)

        output = BaseModelOutputWithPast(
            last_hidden_state=hidden_states,
            past_key_values=past_key_values,
            hidden_states=collected.hidden_states,
            attentions=collected.attentions,
        )
        return output if return_dict else output.to_tuple()


class LlamaForCausalLM(LlamaPreTrainedModel, GenerationMixin):
    """The decoder with a language-model head."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """Logits of the next token, (batch, seq, vocab_size); arguments beyond these are `LlamaModel.forward`'s.

        Args:
            labels: (batch, seq) token ids, unshifted, -100 where none counts: asks for a loss.
            logits_to_keep: positions that logits are wanted for (see `transept.nn.keep_positions`); 0: all.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        *_, return_dict = self.output_options(return_dict=return_dict)
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.lm_head(keep_positions(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items_in_batch)
        output = CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return output if return_dict else output.to_tuple()


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
