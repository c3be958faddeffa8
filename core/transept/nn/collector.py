"""What a forward pass was asked to show of its layers."""

from __future__ import annotations

from torch import Tensor

__all__ = ["OutputCollector"]


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
