"""Task heads that any encoder-decoder family can wear: mixed in before the family's `PreTrainedModel`, as those of `heads` are.
The decoder reads the text as the encoder does, shifted to the right."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import InputError
from ..outputs import Seq2SeqQuestionAnsweringModelOutput, Seq2SeqSequenceClassifierOutput
from .encoder_decoder import ClassificationHead, shift_tokens_right, states_at_last_end
from .heads import ForQuestionAnswering, Head

__all__ = ["Seq2SeqForQuestionAnswering", "Seq2SeqForSequenceClassification"]


class _Seq2SeqHead(Head):
    def read(self, input_ids: Tensor | None, decoder_input_ids: Tensor | None, **inputs: Any) -> Any:
        """The base model's output, for its arguments."""
        if decoder_input_ids is None and inputs["decoder_inputs_embeds"] is None and input_ids is not None:
            decoder_input_ids = shift_tokens_right(input_ids, self.config.pad_token_id, self.config.decoder_start_token_id)
        return self.base_model(input_ids=input_ids, decoder_input_ids=decoder_input_ids, **inputs, return_dict=True)


class Seq2SeqForSequenceClassification(_Seq2SeqHead):
    """One prediction a sequence, logits (batch, num_labels), read from the decoder at its last end-of-sequence token.

    Labels are as in `transept.nn.losses.sequence_classification_loss`; the configuration's `problem_type` chooses the loss.
    """

    new_on_load = ("classification_head.*",)
    output_class = Seq2SeqSequenceClassifierOutput

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.classification_head = ClassificationHead(config.hidden_size, config.num_labels, config.classifier_dropout)
        end = config.eos_token_id
        self.end_ids = [end] if isinstance(end, int) else list(end or ())
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits, and a loss where there are `labels`; arguments beyond these are the base model's.

        Args:
            input_ids: (batch, seq) token ids, with an end-of-sequence token in each row.
            decoder_input_ids: (batch, seq); None: `input_ids` shifted to the right.

        Raises:
            InputError: `input_ids` are missing, or a row has no end-of-sequence token.
        """
        if input_ids is None:
            raise InputError(f"`{type(self).__name__}` needs `input_ids`: it reads each sequence at its end token.")
        outputs = self.read(
            input_ids,
            decoder_input_ids,
            attention_mask=attention_mask,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache if labels is None else False,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        logits = self.classification_head(states_at_last_end(outputs.last_hidden_state, input_ids, self.end_ids))
        return self.answer(outputs, logits, labels, return_dict)


class Seq2SeqForQuestionAnswering(ForQuestionAnswering, _Seq2SeqHead):
    """Scores of an answer's first and last token, (batch, target seq) each, at the decoder's positions."""

    output_class = Seq2SeqQuestionAnsweringModelOutput

    def forward(  # type: ignore[override]
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
    ) -> Any:
        """As `ForQuestionAnswering.forward`; arguments beyond the positions are the base model's.

        Args:
            decoder_input_ids: (batch, target seq); None: `input_ids` shifted to the right.
        """
        outputs = self.read(
            input_ids,
            decoder_input_ids,
            attention_mask=attention_mask,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache if start_positions is None else False,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return self.spans(outputs, start_positions, end_positions, return_dict)
