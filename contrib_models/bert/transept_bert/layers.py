"""What a BERT is made of: embeddings, layers, pooler. Names of modules and parameters are the checkpoints'."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.errors import InputError
from transept.nn import AttentionHeads, CheckpointedLayer, OutputCollector, activation, look_up
from transept.outputs import BaseModelOutputWithCrossAttentions

from .configuration import BertConfig

__all__ = ["BertEmbeddings", "BertEncoder", "BertLayer", "BertPooler"]


class BertEmbeddings(nn.Module):
    """The sum of word, segment and position embeddings, normed."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, words: Tensor, token_type_ids: Tensor | None, position_ids: Tensor) -> Tensor:
        """(batch, seq, hidden_size) from word embeddings of that shape, segments (batch or 1, seq), positions (batch or 1, seq)."""
        batch, length = words.shape[:2]
        if token_type_ids is None:
            token_type_ids = position_ids.new_zeros(1, 1)  # everything is of the first segment
        elif token_type_ids.dim() != 2 or token_type_ids.shape[0] not in (1, batch) or token_type_ids.shape[1] != length:
            raise InputError(f"`token_type_ids` has shape {tuple(token_type_ids.shape)}; this call needs ({batch}, {length}).")
        embeddings = words + look_up(self.token_type_embeddings, token_type_ids, "token_type_ids", "`type_vocab_size`")
        embeddings = embeddings + look_up(self.position_embeddings, position_ids, "position_ids", "the position table")
        return self.dropout(self.LayerNorm(embeddings))


class BertSelfAttention(AttentionHeads):
    """Multi-head attention: over a sequence's own states, or over an encoder's."""

    def __init__(self, config: BertConfig, layer_idx: int) -> None:
        head_dim = config.hidden_size // config.num_attention_heads
        super().__init__(head_dim, layer_idx=layer_idx, dropout=config.attention_probs_dropout_prob)
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: Tensor,
        mask: MaskSpec,
        encoder_hidden_states: Tensor | None,
        past_key_values: Any,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size), and probabilities (batch, heads, seq, keys) or None."""

        def keys_and_values(states: Tensor) -> tuple[Tensor, Tensor]:
            return self.split_heads(self.key(states)), self.split_heads(self.value(states))

        query = self.split_heads(self.query(hidden_states))  # (batch, heads, seq, head_dim)
        if encoder_hidden_states is None:
            key, value = self.remember(*keys_and_values(hidden_states), past_key_values)
        else:
            key, value = self.remember_once(lambda: keys_and_values(encoder_hidden_states), past_key_values)
        return self.attend(query, key, value, mask=mask, need_weights=need_weights)


class BertOutput(nn.Module):
    """Projects what a block computed, adds the block's input, and norms the sum."""

    def __init__(self, config: BertConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, computed: Tensor, block_input: Tensor) -> Tensor:
        """(batch, seq, width) and (batch, seq, hidden_size) in, (batch, seq, hidden_size) out."""
        return self.LayerNorm(self.dropout(self.dense(computed)) + block_input)


class BertAttention(nn.Module):
    """An attention block."""

    def __init__(self, config: BertConfig, layer_idx: int) -> None:
        super().__init__()
        self.self = BertSelfAttention(config, layer_idx)
        self.output = BertOutput(config, config.hidden_size)

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        encoder_hidden_states: Tensor | None = None,
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size) in and out; attention weights beside it, if needed."""
        mixed, weights = self.self(hidden_states, mask, encoder_hidden_states, past_key_values, need_weights)
        return self.output(mixed, hidden_states), weights


class BertIntermediate(nn.Module):
    """The wide half of a feed-forward block."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act_fn = activation(config.hidden_act)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, hidden_size) in, (batch, seq, intermediate_size) out."""
        return self.act_fn(self.dense(hidden_states))


class BertLayer(CheckpointedLayer):
    """Attention, in a decoder perhaps cross-attention, then feed-forward."""

    def __init__(self, config: BertConfig, layer_idx: int) -> None:
        super().__init__()
        self.chunk_size = config.chunk_size_feed_forward
        self.attention = BertAttention(config, layer_idx)
        self.crossattention = BertAttention(config, layer_idx) if config.add_cross_attention else None
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config, config.intermediate_size)

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        encoder_hidden_states: Tensor | None = None,
        encoder_mask: MaskSpec | None = None,
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(batch, seq, hidden_size) in and out; beside it the weights of attention and of cross-attention, if needed."""
        hidden_states, weights = self.attention(
            hidden_states, mask=mask, past_key_values=past_key_values, need_weights=need_weights
        )
        cross_weights = None
        if self.crossattention is not None and encoder_mask is not None:
            hidden_states, cross_weights = self.crossattention(
                hidden_states,
                mask=encoder_mask,
                encoder_hidden_states=encoder_hidden_states,
                past_key_values=past_key_values,
                need_weights=need_weights,
            )
        return self.feed_forward(hidden_states), weights, cross_weights

    def feed_forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, hidden_size) in and out, `chunk_size_feed_forward` positions at a time where that is set."""
        if not self.chunk_size:
            return self.output(self.intermediate(hidden_states), hidden_states)
        chunks = hidden_states.split(self.chunk_size, dim=1)
        return torch.cat([self.output(self.intermediate(chunk), chunk) for chunk in chunks], dim=1)


class BertEncoder(nn.Module):
    """The layers, one after another."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers))

    def forward(
        self, hidden_states: Tensor, *, output_attentions: bool, output_hidden_states: bool, **context: Any
    ) -> BaseModelOutputWithCrossAttentions:
        """(batch, seq, hidden_size) in; `context` goes to each layer."""
        collected, collected_cross = (
            OutputCollector(output_hidden_states, output_attentions),
            OutputCollector(False, output_attentions),
        )
        for layer in self.layer:
            layer_input = hidden_states
            hidden_states, weights, cross_weights = layer(layer_input, need_weights=output_attentions, **context)
            collected.add(layer_input, weights)
            collected_cross.add(layer_input, cross_weights)
        collected.add(hidden_states)
        return BaseModelOutputWithCrossAttentions(
            last_hidden_state=hidden_states,
            hidden_states=collected.hidden_states,
            attentions=collected.attentions,
            cross_attentions=collected_cross.attentions or None,
        )


class BertPooler(nn.Module):
    """A summary of the sequence, read at its first token."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, hidden_size) from (batch, seq, hidden_size)."""
        return torch.tanh(self.dense(hidden_states[:, 0]))
