"""The GPT-2 decoder with heads for sequences, tokens and answers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from transept.nn import ForQuestionAnswering, ForSequenceClassification, ForTokenClassification
from transept.outputs import QuestionAnsweringModelOutput, SequenceClassifierOutputWithPast, TokenClassifierOutput

from .modeling import GPT2Model, GPT2PreTrainedModel

__all__ = ["GPT2ForQuestionAnswering", "GPT2ForSequenceClassification", "GPT2ForTokenClassification"]

_CROSS = GPT2PreTrainedModel.new_on_load


class GPT2ForSequenceClassification(ForSequenceClassification, GPT2PreTrainedModel):
    """The decoder with one prediction a sequence, read at its last token."""

    base_model_class = GPT2Model
    new_on_load = ("score.*", *_CROSS)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutputWithPast | tuple[Any, ...]:
        """Logits (batch, num_labels) and loss, as `transept.nn.ForSequenceClassification` says; the inputs are `GPT2Model`'s."""
        inputs = (input_ids, past_key_values, attention_mask, token_type_ids, position_ids, inputs_embeds)
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        outputs = self.transformer(*inputs, use_cache=use_cache, **shown, return_dict=True)
        return self.answer(outputs, self.scores(outputs, input_ids, attention_mask), labels, return_dict)


class GPT2ForTokenClassification(ForTokenClassification, GPT2PreTrainedModel):
    """The decoder with one prediction a token."""

    base_model_class = GPT2Model
    classifier_name = "classifier"
    new_on_load = ("classifier.*", *_CROSS)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput | tuple[Any, ...]:
        """Logits (batch, seq, num_labels), and the loss against `labels` (batch, seq); the inputs are `GPT2Model`'s."""
        inputs = (input_ids, past_key_values, attention_mask, token_type_ids, position_ids, inputs_embeds)
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        outputs = self.transformer(*inputs, use_cache=use_cache, **shown, return_dict=True)
        return self.answer(outputs, self.scores(outputs, input_ids, attention_mask), labels, return_dict)


class GPT2ForQuestionAnswering(ForQuestionAnswering, GPT2PreTrainedModel):
    """The decoder with the span of an answer."""

    base_model_class = GPT2Model
    new_on_load = ("qa_outputs.*", *_CROSS)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> QuestionAnsweringModelOutput | tuple[Any, ...]:
        """Logits (batch, seq) for the answer's start and end; a loss where both positions (batch,) are given."""
        inputs = (input_ids, None, attention_mask, token_type_ids, position_ids, inputs_embeds)
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        outputs = self.transformer(*inputs, **shown, return_dict=True)
        return self.spans(outputs, start_positions, end_positions, return_dict)
