"""T5 with heads for classification and question answering."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transept.errors import InputError
from transept.nn import Seq2SeqForSequenceClassification
from transept.nn.losses import question_answering_loss, token_classification_loss
from transept.outputs import (
    Seq2SeqQuestionAnsweringModelOutput,
    TokenClassifierOutput,
)

from .configuration import T5Config
from .modeling import T5EncoderDecoder, T5EncoderModel, T5Model, encoder_only
from .stack import T5PreTrainedModel

__all__ = ["T5ForQuestionAnswering", "T5ForSequenceClassification", "T5ForTokenClassification"]


class T5ForSequenceClassification(Seq2SeqForSequenceClassification, T5PreTrainedModel):
    """Encoder and decoder, which both read the text, with one prediction a sequence, at its last end-of-sequence token."""

    base_model_class = T5Model


class T5ForTokenClassification(T5PreTrainedModel):
    """The encoder with one prediction a token."""

    new_on_load = ("classifier.*",)
    _keys_to_ignore_on_load_unexpected = ("*decoder.*", "lm_head.weight")

    def __init__(self, config: T5Config) -> None:
        super().__init__(config := encoder_only(config))
        self.num_labels = config.num_labels
        self.transformer = T5EncoderModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.d_model, config.num_labels)
        self.classifier.init_scale = config.d_model**0.5  # type: ignore[assignment]
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> TokenClassifierOutput | tuple[Any, ...]:
        """Logits (batch, seq, num_labels); the loss against `labels` (batch, seq), of which -100 doesn't count."""
        outputs = self.transformer(
            input_ids,
            attention_mask,
            inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        output = TokenClassifierOutput(
            loss=None if labels is None else token_classification_loss(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()


class T5ForQuestionAnswering(T5EncoderDecoder):
    """Encoder and decoder, which both read the text, with scores of an answer's first and last token."""

    new_on_load = ("qa_outputs.*",)

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.d_model, 2)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Seq2SeqQuestionAnsweringModelOutput | tuple[Any, ...]:
        """Logits (batch, target seq) for the answer's start and end; arguments beyond these are `T5Model.forward`'s.

        Args:
            decoder_input_ids: (batch, target seq); None: `input_ids` shifted to the right.
            start_positions, end_positions: (batch,), both of them for a loss; positions outside the sequence don't count.

        Raises:
            InputError: one of the positions is given without the other, or the decoder has no input.
        """
        if (start_positions is None) != (end_positions is None):
            raise InputError("Give both of `start_positions` and `end_positions`, or neither.")
        if decoder_input_ids is None and decoder_inputs_embeds is None and input_ids is not None:
            decoder_input_ids = self._shift_right(input_ids)
        outputs = self.encode_and_decode(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            None,
            inputs_embeds,
            decoder_inputs_embeds,
            use_cache if start_positions is None else False,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(dim=-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = question_answering_loss(start_logits, end_logits, start_positions, end_positions)
        output = Seq2SeqQuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_logits.contiguous(),
            end_logits=end_logits.contiguous(),
            **{name: value for name, value in outputs.items() if name != "last_hidden_state"},
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()
