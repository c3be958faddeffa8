"""ALBERT (https://arxiv.org/abs/1909.11942): narrow word embeddings, widened once, and layers whose weights passes share.

Task heads are in `heads`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.model import PreTrainedModel
from transept.nn import (
    CheckpointedLayer,
    OutputCollector,
    QueryKeyValueAttention,
    SegmentEmbeddings,
    activation,
    check_length,
    embed_tokens,
    in_chunks,
    position_ids_from,
)
from transept.outputs import BaseModelOutput, BaseModelOutputWithPooling

from .configuration import AlbertConfig

__all__ = ["AlbertModel", "AlbertPreTrainedModel"]


class AlbertAttention(QueryKeyValueAttention):
    """Multi-head attention, projected out, added to its input and normed."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.output_dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, *, mask: MaskSpec, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size) in and out; probabilities (batch, heads, seq, seq) beside it, if needed."""
        mixed, weights = self.mix(hidden_states, mask, need_weights=need_weights)
        return self.LayerNorm(hidden_states + self.output_dropout(self.dense(mixed))), weights


class AlbertLayer(CheckpointedLayer):
    """Attention, then feed-forward; each sum with its input is normed."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.chunk_size = config.chunk_size_feed_forward
        self.attention = AlbertAttention(config)
        self.ffn = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act_fn = activation(config.hidden_act)
        self.full_layer_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: Tensor, *, mask: MaskSpec, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size) in and out; attention weights beside it, if needed."""
        attended, weights = self.attention(hidden_states, mask=mask, need_weights=need_weights)
        return self.full_layer_layer_norm(in_chunks(self.feed_forward, attended, self.chunk_size) + attended), weights

    def feed_forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, hidden_size) in and out."""
        return self.ffn_output(self.act_fn(self.ffn(hidden_states)))


class AlbertLayerGroup(nn.Module):
    """The layers of one pass."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.albert_layers = nn.ModuleList(AlbertLayer(config) for _ in range(config.inner_group_num))


class AlbertTransformer(nn.Module):
    """The widening, and the groups that passes are made by."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.embedding_hidden_mapping_in = nn.Linear(config.embedding_size, config.hidden_size)
        self.albert_layer_groups = nn.ModuleList(AlbertLayerGroup(config) for _ in range(config.num_hidden_groups))
        passes, groups = config.num_hidden_layers, config.num_hidden_groups
        self.group_of_pass = [int(index / (passes / groups)) for index in range(passes)]

    def forward(
        self, embeddings: Tensor, *, mask: MaskSpec, output_attentions: bool, output_hidden_states: bool
    ) -> BaseModelOutput:
        """(batch, seq, hidden_size) from (batch, seq, embedding_size)."""
        hidden_states = self.embedding_hidden_mapping_in(embeddings)
        collected = OutputCollector(output_hidden_states, output_attentions)
        for group in self.group_of_pass:
            for layer in self.albert_layer_groups[group].albert_layers:  # type: ignore[union-attr]
                layer_input = hidden_states
                hidden_states, weights = layer(layer_input, mask=mask, need_weights=output_attentions)
                collected.add(layer_input, weights)
        collected.add(hidden_states)
        return BaseModelOutput(
            last_hidden_state=hidden_states, hidden_states=collected.hidden_states, attentions=collected.attentions
        )


class AlbertPreTrainedModel(PreTrainedModel):
    """What the ALBERT classes share."""

    config_class = AlbertConfig
    config: AlbertConfig
    base_model_prefix = "albert"
    supports_gradient_checkpointing = True
    _no_split_modules = ["SegmentEmbeddings", "AlbertLayer"]  # noqa: RUF012
    _input_embeddings_name = "embeddings.word_embeddings"
    # files of older versions carry the numbers 0, 1, 2, …
    _keys_to_ignore_on_load_unexpected = ("*embeddings.position_ids",)
    new_on_load = ("pooler.*", "*.pooler.*", "predictions.*", "sop_classifier.*")


class AlbertModel(AlbertPreTrainedModel):
    """The encoder without a head; `add_pooling_layer=False` leaves the pooler out."""

    def __init__(self, config: AlbertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.max_positions = config.max_position_embeddings
        self.embeddings = SegmentEmbeddings(config, config.embedding_size)
        self.encoder = AlbertTransformer(config)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Hidden states of every position, and the pooled first one.

        Args:
            input_ids: (batch, seq) token ids; or else `inputs_embeds`, (batch, seq, embedding_size).
            attention_mask: (batch, seq), 0 at padding; or a whole mask (see `transept.nn.decoder_mask`).
            token_type_ids: (batch or 1, seq), the segment of each token; None: the first.
            position_ids: (batch or 1, seq); None: counted from the start of each row, padding too.
            output_hidden_states: those of each layer of each pass, `inner_group_num` a pass.

        Raises:
            InputError: a sequence past the position table.
        """
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        words = embed_tokens(self.embeddings.word_embeddings, input_ids, inputs_embeds)
        mask = self.attention_mask_for(words, attention_mask, kind="bidirectional")
        if position_ids is None:
            check_length(words, None, self.max_positions)
        position_ids = position_ids_from(words, None, None, position_ids)
        encoded = self.encoder(
            self.embeddings(words, token_type_ids, position_ids),
            mask=mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        hidden_states = encoded.last_hidden_state
        output = BaseModelOutputWithPooling(
            last_hidden_state=hidden_states,
            pooler_output=None if self.pooler is None else torch.tanh(self.pooler(hidden_states[:, 0])),
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return output if return_dict else output.to_tuple()
