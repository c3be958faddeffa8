"""Running the layers of a model, and what a forward pass was asked to show of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..outputs import BaseModelOutputWithPastAndCrossAttentions

__all__ = ["OutputCollector", "run_layers"]


class OutputCollector:
    """Gathers hidden states and attention weights of the layers, where they are wanted.

    Hidden states are the embeddings, each layer's output but the last's, and the output of the final norm: one more than layers.
    """

    def __init__(self, hidden_states: bool, attentions: bool) -> None:
        self._hidden_states: list[Tensor] | None = [] if hidden_states else None
        self._attentions: list[Tensor] | None = [] if attentions else None

    def add(self, hidden_states: Tensor, weights: Tensor | None = None) -> None:
        """A layer's input, and the attention weights that it has beside its output."""
        if self._hidden_states is not None:
            self._hidden_states.append(hidden_states)
        if self._attentions is not None and weights is not None:
            self._attentions.append(weights)

    @property
    def hidden_states(self) -> tuple[Tensor, ...] | None:
        return None if self._hidden_states is None else tuple(self._hidden_states)

    @property
    def attentions(self) -> tuple[Tensor, ...] | None:
        return None if self._attentions is None else tuple(self._attentions)


def run_layers(
    layers: nn.ModuleList,
    hidden_states: Tensor,
    *,
    output_attentions: bool,
    output_hidden_states: bool,
    layerdrop: float = 0.0,
    finish: Callable[[Tensor], Tensor] | None = None,
    past_key_values: Any = None,
    **arguments: Any,
) -> BaseModelOutputWithPastAndCrossAttentions:
    """The output of an encoder or a decoder, from what goes into its first layer, (batch, seq, hidden_size).

    Args:
        layers: each takes hidden states and, as keywords, `need_weights` and the `arguments`, and returns hidden states and the
            weights of self-attention and, if it has any, cross-attention.
        layerdrop: probability, while training, of skipping a layer (https://arxiv.org/abs/1909.11556).
        finish: what comes after the last layer, such as a norm.
        past_key_values: goes to the layers where it is not None.
    """
    collected, crossed = OutputCollector(output_hidden_states, output_attentions), OutputCollector(False, output_attentions)
    if past_key_values is not None:
        arguments["past_key_values"] = past_key_values
    for layer in layers:
        if layers.training and layerdrop > 0 and torch.rand(()) < layerdrop:
            continue
        layer_input = hidden_states
        hidden_states, weights, *cross_weights = layer(layer_input, need_weights=output_attentions, **arguments)
        collected.add(layer_input, weights)
        crossed.add(layer_input, *cross_weights)
    hidden_states = hidden_states if finish is None else finish(hidden_states)
    collected.add(hidden_states)
    return BaseModelOutputWithPastAndCrossAttentions(
        last_hidden_state=hidden_states,
        past_key_values=past_key_values,
        hidden_states=collected.hidden_states,
        attentions=collected.attentions,
        cross_attentions=crossed.attentions or None,
    )
