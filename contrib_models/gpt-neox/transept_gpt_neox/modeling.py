"""GPT-NeoX (https://arxiv.org/abs/2204.06745), the architecture of Pythia (https://arxiv.org/abs/2304.01373) too.

Decoder layers whose attention and feed-forward block, each behind a layer norm, run side by side; a part of each head is rotated.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transept.attention import MaskSpec
from transept.checkpoints import KeyMap, Rename
from transept.generation import GenerationMixin
from transept.model import PreTrainedModel
from transept.nn import (
    AttentionHeads,
    CheckpointedLayer,
    Decoder,
    ForCausalLM,
    RotaryEmbedding,
    activation,
    apply_rotary,
)
from transept.outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration import GPTNeoXConfig

__all__ = ["GPTNeoXForCausalLM", "GPTNeoXLayer", "GPTNeoXModel", "GPTNeoXPreTrainedModel"]


class GPTNeoXAttention(AttentionHeads):
    """Attention over partly rotated queries and keys, which come with the values from one projection."""

    def __init__(self, config: GPTNeoXConfig, layer_idx: int) -> None:
        super().__init__(
            config.hidden_size // config.num_attention_heads, layer_idx=layer_idx, dropout=config.attention_dropout
        )
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.attention_bias)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.attention_bias)

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: MaskSpec,
        position_embeddings: tuple[Tensor, Tensor],
        past_key_values: Any = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, seq, hidden_size) in and out, and probabilities (batch, heads, seq, keys) or None."""
        fused = self.query_key_value(hidden_states).unflatten(-1, (-1, 3 * self.head_dim))  # the three stand together by head
        query, key, value = fused.transpose(1, 2).chunk(3, dim=-1)  # (batch, heads, seq, head_dim) each
        query, key = apply_rotary(query, key, *position_embeddings)
        key, value = self.remember(key, value, past_key_values)
        mixed, weights = self.attend(query, key, value, mask=mask, need_weights=need_weights)
        return self.dense(mixed), weights


class GPTNeoXMLP(nn.Module):
    """A feed-forward block."""

    def __init__(self, config: GPTNeoXConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = activation(config.hidden_act)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, seq, hidden_size) in and out."""
        return self.dense_4h_to_h(self.act(self.dense_h_to_4h(hidden_states)))


class GPTNeoXLayer(CheckpointedLayer):
    """Attention and feed-forward side by side: both read the layer's input, and both add to it. Or one after the other."""

    def __init__(self, config: GPTNeoXConfig, layer_idx: int) -> None:
        super().__init__()
        self.use_parallel_residual = config.use_parallel_residual
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_attention_dropout = nn.Dropout(config.hidden_dropout)
        self.post_mlp_dropout = nn.Dropout(config.hidden_dropout)
        self.attention = GPTNeoXAttention(config, layer_idx)
        self.mlp = GPTNeoXMLP(config)

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
        mixed, weights = self.attention(
            self.input_layernorm(hidden_states),
            mask=mask,
            position_embeddings=position_embeddings,
            past_key_values=past_key_values,
            need_weights=need_weights,
        )
        attended = hidden_states + self.post_attention_dropout(mixed)
        read = hidden_states if self.use_parallel_residual else attended
        return attended + self.post_mlp_dropout(self.mlp(self.post_attention_layernorm(read))), weights


class GPTNeoXPreTrainedModel(PreTrainedModel):
    """What the GPT-NeoX classes share."""

    config_class = GPTNeoXConfig
    config: GPTNeoXConfig
    base_model_prefix = "gpt_neox"
    supports_gradient_checkpointing = True
    key_map = KeyMap([Rename("embed_out.weight", "lm_head.weight")])
    _input_embeddings_name = "embed_in"
    _no_split_modules = ["GPTNeoXLayer"]  # noqa: RUF012
    # files of older versions carry each layer's causal mask and frequencies
    _keys_to_ignore_on_load_unexpected = ("*.attention.bias", "*.attention.masked_bias", "*.rotary_emb.inv_freq")


class GPTNeoXModel(Decoder, GPTNeoXPreTrainedModel):
    """The decoder without a head."""

    final_norm_name = "final_layer_norm"

    def __init__(self, config: GPTNeoXConfig) -> None:
        super().__init__(config)
        self.embed_in = nn.Embedding(config.vocab_size, config.hidden_size)
        self.emb_dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(GPTNeoXLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers))
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.rotary_emb = RotaryEmbedding(
            config.rope_parameters,
            head_dim=config.hidden_size // config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
        )
        self.post_init()

    def embed(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        return self.emb_dropout(super().embed(input_ids, inputs_embeds))

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPast | tuple[Any, ...]:
        """As `transept.nn.Decoder.forward`, with the family's order of arguments."""
        inputs = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds)
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return super().forward(*inputs, use_cache, **shown, return_dict=return_dict)


class GPTNeoXForCausalLM(ForCausalLM, GPTNeoXPreTrainedModel, GenerationMixin):
    """The decoder with a language-model head."""

    base_model_class = GPTNeoXModel
    _tied_weights_keys = {"lm_head.weight": "gpt_neox.embed_in.weight"}  # noqa: RUF012

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """As `transept.nn.ForCausalLM.forward`, with the family's order of arguments."""
        inputs = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, labels, use_cache, logits_to_keep)
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return super().forward(*inputs, **shown, return_dict=return_dict, num_items_in_batch=num_items_in_batch)
