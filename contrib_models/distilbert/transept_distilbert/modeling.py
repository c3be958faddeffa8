"""DistilBERT (https://arxiv.org/abs/1910.01108): BERT of half as many layers, without segments and pooler. Heads are in `heads`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.errors import InputError
from transept.model import PreTrainedModel
from transept.nn import (
    AttentionHeads,
    CheckpointedLayer,
    OutputCollector,
    activation,
    check_length,
    embed_tokens,
    in_chunks,
    look_up,
    position_ids_from,
)
from transept.outputs import BaseModelOutput

from .configuration import DistilBertConfig

__all__ = ["DistilBertModel", "DistilBertPreTrainedModel"]

NORM_EPS = 1e-12


class PositionTable(nn.Embedding):
    """An embedding of positions, which may start as sinusoids."""

    @torch.no_grad()
    def draw_sinusoids(self) -> None:
        """Sines and cosines of geometrically falling frequencies, side by side (https://arxiv.org/abs/1706.03762)."""
        rows, width = self.weight.shape
        pair = torch.arange(width, dtype=torch.float64) // 2
        angles = torch.arange(rows, dtype=torch.float64)[:, None] / 10000 ** (2 * pair / width)  # (positions, dim)
        self.weight[:, 0::2] = angles[:, 0::2].sin().to(self.weight)
        self.weight[:, 1::2] = angles[:, 1::2].cos().to(self.weight)


class DistilBertEmbeddings(nn.Module):
    """The sum of word and position embeddings, normed."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.dim, config.pad_token_id)
        self.position_embeddings = PositionTable(config.max_position_embeddings, config.dim)
        self.LayerNorm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, words: Tensor, position_ids: Tensor) -> Tensor:
        """(batch, seq, dim) from word embeddings of that shape and positions (batch or 1, seq)."""
        positions = look_up(self.position_embeddings, position_ids, "position_ids", "the position table")
        return self.dropout(self.LayerNorm(words + positions))


class DistilBertSelfAttention(AttentionHeads):
    """Multi-head attention."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config.dim // config.n_heads, dropout=config.attention_dropout)
        self.q_lin = nn.Linear(config.dim, config.dim)
        self.k_lin = nn.Linear(config.dim, config.dim)
        self.v_lin = nn.Linear(config.dim, config.dim)
        self.out_lin = nn.Linear(config.dim, config.dim)

    def forward(self, hidden_states: Tensor, *, mask: MaskSpec, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, dim) in and out; probabilities (batch, heads, seq, seq) beside it, if needed."""
        query, key, value = (self.split_heads(project(hidden_states)) for project in (self.q_lin, self.k_lin, self.v_lin))
        mixed, weights = self.attend(query, key, value, mask=mask, need_weights=need_weights)
        return self.out_lin(mixed), weights


class FFN(nn.Module):
    """The feed-forward block."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.lin1 = nn.Linear(config.dim, config.hidden_dim)
        self.lin2 = nn.Linear(config.hidden_dim, config.dim)
        self.act_fn = activation(config.activation)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, dim) in and out."""
        return self.dropout(self.lin2(self.act_fn(self.lin1(hidden_states))))


class TransformerBlock(CheckpointedLayer):
    """Attention, then feed-forward; each sum with its input is normed."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.chunk_size = config.chunk_size_feed_forward
        self.attention = DistilBertSelfAttention(config)
        self.sa_layer_norm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.ffn = FFN(config)
        self.output_layer_norm = nn.LayerNorm(config.dim, eps=NORM_EPS)

    def forward(self, hidden_states: Tensor, *, mask: MaskSpec, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, dim) in and out; attention weights beside it, if needed."""
        mixed, weights = self.attention(hidden_states, mask=mask, need_weights=need_weights)
        hidden_states = self.sa_layer_norm(mixed + hidden_states)
        widened = in_chunks(self.ffn, hidden_states, self.chunk_size)
        return self.output_layer_norm(widened + hidden_states), weights


class Transformer(nn.Module):
    """The layers, one after another."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(TransformerBlock(config) for _ in range(config.n_layers))


class DistilBertPreTrainedModel(PreTrainedModel):
    """What the DistilBERT classes share."""

    config_class = DistilBertConfig
    config: DistilBertConfig
    base_model_prefix = "distilbert"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DistilBertEmbeddings", "TransformerBlock"]  # noqa: RUF012
    _input_embeddings_name = "embeddings.word_embeddings"
    # files of older versions carry the numbers 0, 1, 2, …
    _keys_to_ignore_on_load_unexpected = ("*embeddings.position_ids",)
    new_on_load = ("vocab_transform.*", "vocab_layer_norm.*", "vocab_projector.*")

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, PositionTable) and self.config.sinusoidal_pos_embds:
            module.draw_sinusoids()
        else:
            super()._init_weights(module)

    def get_position_embeddings(self) -> nn.Embedding:
        """The position table, (max_position_embeddings, dim)."""
        return self.base_model.embeddings.position_embeddings  # type: ignore[union-attr, return-value]

    @torch.no_grad()
    def resize_position_embeddings(self, new_num_position_embeddings: int) -> None:
        """Grow or shrink the position table: the rows that stay keep their values, new ones start as in a new model."""
        if new_num_position_embeddings < 1:
            raise InputError(f"A table of {new_num_position_embeddings} positions cannot be: ask for one or more.")
        old = self.get_position_embeddings().weight
        table = PositionTable(new_num_position_embeddings, self.config.dim).to(old)
        self._init_weights(table)
        kept = min(len(old), new_num_position_embeddings)
        table.weight[:kept] = old[:kept]
        self.base_model.embeddings.position_embeddings = table  # type: ignore[union-attr]
        self.config.max_position_embeddings = self.base_model.max_positions = new_num_position_embeddings


class DistilBertModel(DistilBertPreTrainedModel):
    """The encoder without a head."""

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.max_positions: int = config.max_position_embeddings
        self.embeddings = DistilBertEmbeddings(config)
        self.transformer = Transformer(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Hidden states of every position.

        Args:
            input_ids: (batch, seq) token ids; or else `inputs_embeds`, (batch, seq, dim).
            attention_mask: (batch, seq), 0 at padding; or a whole mask (see `transept.nn.decoder_mask`).
            position_ids: (batch or 1, seq); None: counted from the start of each row, padding too.

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
        hidden_states = self.embeddings(words, position_ids_from(words, None, None, position_ids))

        collected = OutputCollector(output_hidden_states, output_attentions)
        for layer in self.transformer.layer:
            layer_input = hidden_states
            hidden_states, weights = layer(layer_input, mask=mask, need_weights=output_attentions)
            collected.add(layer_input, weights)
        collected.add(hidden_states)
        output = BaseModelOutput(
            last_hidden_state=hidden_states, hidden_states=collected.hidden_states, attentions=collected.attentions
        )
        return output if return_dict else output.to_tuple()
