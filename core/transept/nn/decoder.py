"""The forward pass that decoders over rotary positions share, whatever their layers are: mixed in before the family's
`PreTrainedModel`.

class LlamaModel(Decoder, LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens, self.layers, self.norm, self.rotary_emb = ...
        self.post_init()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from ..attention import MaskSpec
from ..cache.windows import windows_of
from ..outputs import BaseModelOutputWithPast
from .checkpointing import CheckpointedLayer, cache_for
from .collector import OutputCollector
from .embeddings import embed_tokens
from .masks import position_ids_from

__all__ = ["Decoder", "PreNormLayer"]


class Decoder(nn.Module):
    """Embedding, layers, norm (https://arxiv.org/abs/1706.03762, without an encoder; https://arxiv.org/abs/2104.09864).

    A family's `__init__` makes these modules, under its checkpoints' names:

    - the token embedding; what else happens before the first layer is an override of `embed`.
    - `layers`: `CheckpointedLayer`s that take hidden states, and as keywords `mask`, `position_embeddings`, `past_key_values` and
      `need_weights`; they return hidden states, and attention weights or None.
    - `norm`, or another name in `final_norm_name`.
    - `rotary_emb`: gives `position_embeddings` for all layers.

    Which layers see only a window is read from the configuration's `layer_types` and `sliding_window`, as caches read it.
    """

    _other_base_prefixes = ("transformer",)
    """Heads for question answering keep their base under this name, whatever their siblings do."""

    final_norm_name: ClassVar[str] = "norm"
    mask_kind: Literal["causal", "bidirectional"] = "causal"
    """Bidirectional where a decoder's layers serve as an encoder."""
    layers: nn.ModuleList
    rotary_emb: nn.Module
    if TYPE_CHECKING:
        config: Any
        get_input_embeddings: Callable[[], nn.Module]
        attention_mask_for: Callable[..., MaskSpec]
        output_options: Callable[..., tuple[bool, bool, bool]]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.layer_windows = windows_of(config)
        """For each layer the number of keys that a query sees, its own among them; None: all."""

    def embed(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        """What goes into the first layer: (batch, seq, hidden_size)."""
        return embed_tokens(self.get_input_embeddings(), input_ids, inputs_embeds)

    def layer_masks(
        self, hidden_states: Tensor, attention_mask: Tensor | None, past_key_values: Any, position_ids: Tensor | None
    ) -> list[MaskSpec]:
        """Each layer's mask, made once for each size of window: layers of one size hold the same keys."""
        masks: dict[int | None, MaskSpec] = {}
        for layer_idx, window in enumerate(self.layer_windows):
            if window not in masks:
                masks[window] = self.attention_mask_for(
                    hidden_states,
                    attention_mask,
                    past_key_values,
                    kind=self.mask_kind,
                    sliding_window=window,
                    layer_idx=layer_idx,
                    position_ids=position_ids,
                )
        return [masks[window] for window in self.layer_windows]

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
        hidden_states = self.embed(input_ids, inputs_embeds)
        past_key_values = cache_for(self, use_cache, past_key_values)
        masks = self.layer_masks(hidden_states, attention_mask, past_key_values, position_ids)
        position_ids = position_ids_from(hidden_states, attention_mask, past_key_values, position_ids)
        position_embeddings = self.rotary_emb(hidden_states, position_ids)

        collected = OutputCollector(output_hidden_states, output_attentions)
        for layer, mask in zip(self.layers, masks, strict=True):
            layer_input = hidden_states
            hidden_states, weights = layer(
                layer_input,
                mask=mask,
                position_embeddings=position_embeddings,
                past_key_values=past_key_values,
                need_weights=output_attentions,
            )
            collected.add(layer_input, weights)
        hidden_states = getattr(self, self.final_norm_name)(hidden_states)
        collected.add(hidden_states)

        output = BaseModelOutputWithPast(
            last_hidden_state=hidden_states,
            past_key_values=past_key_values,
            hidden_states=collected.hidden_states,
            attentions=collected.attentions,
        )
        return output if return_dict else output.to_tuple()


class PreNormLayer(CheckpointedLayer):
    """Attention, then feed-forward; each adds to the residual stream what it makes of the normed stream
    (https://arxiv.org/abs/2002.04745).

    A family's `__init__` makes the four parts, under the names that its checkpoints have.
    """

    self_attn: nn.Module
    mlp: nn.Module
    input_layernorm: nn.Module
    post_attention_layernorm: nn.Module

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
