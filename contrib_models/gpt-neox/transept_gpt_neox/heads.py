"""The GPT-NeoX decoder with heads for sequences, tokens and answers: those of `transept.nn`, with the family's order of arguments."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from transept.errors import InputError
from transept.nn import ForQuestionAnswering, ForSequenceClassification, ForTokenClassification
from transept.outputs import QuestionAnsweringModelOutput, SequenceClassifierOutputWithPast, TokenClassifierOutput

from .modeling import GPTNeoXModel, GPTNeoXPreTrainedModel

__all__ = ["GPTNeoXForQuestionAnswering", "GPTNeoXForSequenceClassification", "GPTNeoXForTokenClassification"]


class GPTNeoXForSequenceClassification(ForSequenceClassification, GPTNeoXPreTrainedModel):
    """The decoder with one prediction a sequence, read at its last token."""

    base_model_class = GPTNeoXModel

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutputWithPast | tuple[Any, ...]:
        """Logits (batch, num_labels) and loss, as `transept.nn.ForSequenceClassification` says."""
        inputs = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, labels, use_cache)
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return super().forward(*inputs, **shown, return_dict=return_dict)


class GPTNeoXForTokenClassification(ForTokenClassification, GPTNeoXPreTrainedModel):
    """The decoder with one prediction a token."""

    base_model_class = GPTNeoXModel
    classifier_name = "classifier"
    new_on_load = ("classifier.*",)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        token_type_ids: None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput | tuple[Any, ...]:
        """Logits (batch, seq, num_labels), and the loss against `labels` (batch, seq). `token_type_ids` must be None."""
        _refuse_segments(token_type_ids)
        inputs = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, labels, use_cache)
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return super().forward(*inputs, **shown, return_dict=return_dict)


class GPTNeoXForQuestionAnswering(ForQuestionAnswering, GPTNeoXPreTrainedModel):
    """The decoder with the span of an answer."""

    base_model_class = GPTNeoXModel

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> QuestionAnsweringModelOutput | tuple[Any, ...]:
        """Logits (batch, seq) for the answer's start and end, and loss. `token_type_ids` must be None."""
        _refuse_segments(token_type_ids)
        inputs = (input_ids, attention_mask, position_ids, None, inputs_embeds, start_positions, end_positions)
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return super().forward(*inputs, **shown, return_dict=return_dict)


def _refuse_segments(token_type_ids: Tensor | None) -> None:
    """The established signatures have the argument, and the architecture has nothing that could read it."""
    if token_type_ids is not None:
        raise InputError("`token_type_ids` are given, and GPT-NeoX has no segment embeddings: leave them out.")
