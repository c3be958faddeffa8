"""The post-normed encoder of BERT (https://arxiv.org/abs/1810.04805) and what it is made of; each part under the names that
checkpoints of BERT and RoBERTa have.

As a decoder (`is_decoder`) its attention is causal and keeps a cache, and it may look at another encoder's states
(`add_cross_attention`, https://arxiv.org/abs/1907.12461). A family mixes `PostNormEncoder` in before its `PreTrainedModel`:

class BertModel(PostNormEncoder, BertPreTrainedModel):
    ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ..attention import MaskSpec
from ..errors import InputError
from ..outputs import BaseModelOutputWithPastAndCrossAttentions, BaseModelOutputWithPoolingAndCrossAttentions
from .activations import activation
from .attention import AttentionHeads
from .checkpointing import CheckpointedLayer, cache_for
from .collector import run_layers
from .embeddings import embed_tokens, look_up
from .encoder_decoder import paired_cache_for
from .masks import check_length, cross_attention_mask, position_ids_from
from .mlp import in_chunks

__all__ = ["FirstTokenPooler", "PostNormEncoder", "PostNormLayer", "QueryKeyValueAttention", "SegmentEmbeddings"]


class SegmentEmbeddings(nn.Module):
    """The sum of word, segment and position embeddings, normed.

    Reads of the configuration: `vocab_size`, `max_position_embeddings`, `type_vocab_size`, `pad_token_id`, `layer_norm_eps`,
    `hidden_dropout_prob`.

    Args:
        width: of each embedding.
        position_padding: the row of the position table that padding has; None: none is set apart.
    """

    def __init__(self, config: Any, width: int, position_padding: int | None = None) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width, position_padding)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, words: Tensor, token_type_ids: Tensor | None, position_ids: Tensor) -> Tensor:
        """(batch, seq, width) from word embeddings of that shape, segments (batch or 1, seq), positions (batch or 1, seq)."""
        batch, length = words.shape[:2]
        if token_type_ids is None:
            token_type_ids = position_ids.new_zeros(1, 1)  # everything is of the first segment
        elif token_type_ids.dim() != 2 or token_type_ids.shape[0] not in (1, batch) or token_type_ids.shape[1] != length:
            raise InputError(f"`token_type_ids` has shape {tuple(token_type_ids.shape)}; this call needs ({batch}, {length}).")
        embeddings = words + look_up(self.token_type_embeddings, token_type_ids, "token_type_ids", "`type_vocab_size`")
        embeddings = embeddings + look_up(self.position_embeddings, position_ids, "position_ids", "the position table")
        return self.dropout(self.LayerNorm(embeddings))


class QueryKeyValueAttention(AttentionHeads):
    """Multi-head attention without a projection out: over a sequence's own states, or over an encoder's.

    Reads of the configuration: `hidden_size`, `num_attention_heads`, `attention_probs_dropout_prob`.
    """

    def __init__(self, config: Any, layer_idx: int | None = None) -> None:
        width = config.hidden_size
        super().__init__(width // config.num_attention_heads, layer_idx=layer_idx, dropout=config.attention_probs_dropout_prob)
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)

    def mix(
        self,
        hidden_states: Tensor,
        mask: MaskSpec,
        encoder_hidden_states: Tensor | None = None,
        past_key_values: Any = None,
        need_weights: bool = False,
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

    forward = mix


class _Output(nn.Module):
    """Projects what a block computed, adds the block's input, and norms the sum."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, computed: Tensor, block_input: Tensor) -> Tensor:
        """(batch, seq, width) and (batch, seq, hidden_size) in, (batch, seq, hidden_size) out."""
        return self.LayerNorm(self.dropout(self.dense(computed)) + block_input)


class _Attention(nn.Module):
    """An attention block."""

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.self = QueryKeyValueAttention(config, layer_idx)
        self.output = _Output(config, config.hidden_size)

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


class _Intermediate(nn.Module):
    """The wide half of a feed-forward block."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act_fn = activation(config.hidden_act)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, hidden_size) in, (batch, seq, intermediate_size) out."""
        return self.act_fn(self.dense(hidden_states))


class PostNormLayer(CheckpointedLayer):
    """Attention, in a decoder perhaps cross-attention, then feed-forward; each sum with its input is normed.

    Reads of the configuration: what `QueryKeyValueAttention` does, `intermediate_size`, `hidden_act`, `hidden_dropout_prob`,
    `layer_norm_eps`, `chunk_size_feed_forward`, `add_cross_attention`.
    """

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.chunk_size = config.chunk_size_feed_forward
        self.attention = _Attention(config, layer_idx)
        self.crossattention = _Attention(config, layer_idx) if config.add_cross_attention else None
        self.intermediate = _Intermediate(config)
        self.output = _Output(config, config.intermediate_size)

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
        return in_chunks(self.feed_forward, hidden_states, self.chunk_size), weights, cross_weights

    def feed_forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, hidden_size) in and out."""
        return self.output(self.intermediate(hidden_states), hidden_states)


class _Layers(nn.Module):
    """The layers, one after another."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer = nn.ModuleList(PostNormLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers))

    def forward(self, hidden_states: Tensor, **asked: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        """(batch, seq, hidden_size) in; as `run_layers`."""
        return run_layers(self.layer, hidden_states, **asked)


class FirstTokenPooler(nn.Module):
    """A summary of the sequence, read at its first token."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, hidden_size) from (batch, seq, hidden_size)."""
        return torch.tanh(self.dense(hidden_states[:, 0]))


class PostNormEncoder(nn.Module):
    """Embeddings, layers, pooler: the encoder, or decoder, without a head; `add_pooling_layer=False` leaves the pooler out.

    Positions are a table's, counted from the start of each row, padding too; a family that counts otherwise overrides
    `positions` and sets `position_padding`. Beside what the parts read of the configuration: `num_hidden_layers`, `is_decoder`.
    """

    if TYPE_CHECKING:
        config: Any
        post_init: Callable[[], None]
        attention_mask_for: Callable[..., MaskSpec]
        output_options: Callable[..., tuple[bool, bool, bool]]

    def __init__(self, config: Any, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.is_decoder, self.has_cross_attention = config.is_decoder, config.add_cross_attention
        self.mask_kind: Literal["causal", "bidirectional"] = "causal" if config.is_decoder else "bidirectional"
        self.max_positions: int = config.max_position_embeddings
        self.embeddings = SegmentEmbeddings(config, config.hidden_size, self.position_padding(config))
        self.encoder = _Layers(config)
        self.pooler = FirstTokenPooler(config.hidden_size) if add_pooling_layer else None
        self.post_init()

    def position_padding(self, config: Any) -> int | None:
        """The row of the position table that is padding's."""
        return None

    def positions(
        self, words: Tensor, input_ids: Tensor | None, attention_mask: Tensor | MaskSpec | None, past_key_values: Any
    ) -> Tensor:
        """Positions (batch or 1, seq) where none are given. Raises: InputError: the table ends before the sequence does."""
        check_length(words, past_key_values, self.max_positions)
        return position_ids_from(words, None, past_key_values)

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
            position_ids: (batch or 1, seq); None: counted as the class says.
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
        if position_ids is None:
            position_ids = self.positions(words, input_ids, attention_mask, past_key_values)
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
                "An encoder keeps no cache (`config.is_decoder` is False): to generate, load it with `is_decoder=True`, or pass "
                "`use_cache=False`."
            )
        cache_of = cache_for if encoder_hidden_states is None else paired_cache_for
        return cache_of(self, use_cache if self.is_decoder else False, past_key_values)

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
