"""What BERT is pre-trained on (https://arxiv.org/abs/1810.04805): masked words, and whether a text follows another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from transept.errors import InputError
from transept.nn import EncoderHead
from transept.nn.losses import masked_lm_loss, sequence_classification_loss
from transept.outputs import ModelOutput, NextSentencePredictorOutput

from .configuration import BertConfig
from .heads import BertHeads, BertWordPrediction
from .modeling import BertModel, BertPreTrainedModel

__all__ = ["BertForNextSentencePrediction", "BertForPreTraining", "BertForPreTrainingOutput"]


@dataclass
class BertForPreTrainingOutput(ModelOutput):
    """`prediction_logits` (batch, seq, vocab_size), `seq_relationship_logits` (batch, 2); the rest as in `transept.outputs`."""

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class BertForNextSentencePrediction(EncoderHead, BertPreTrainedModel):
    """Whether a text follows another: logits (batch, 2), yes and no; `labels` (batch,)."""

    base_model_class = BertModel
    output_class = NextSentencePredictorOutput

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.cls = BertHeads(config, seq_relationship=True)
        self.post_init()

    def scores(self, outputs: Any) -> Tensor:
        return self.cls.seq_relationship(outputs.pooler_output)

    def loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        return sequence_classification_loss(logits, labels, "single_label_classification")


class BertForPreTraining(BertWordPrediction):
    """Masked words and next sentence, the two tasks of pre-training."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.cls = BertHeads(config, predictions=True, seq_relationship=True)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BertForPreTrainingOutput | tuple[Any, ...]:
        """Scores of both tasks; the sum of their losses where both labels are given. Other arguments are `BertModel.forward`'s.

        Args:
            labels: (batch, seq) token ids, -100 where none counts.
            next_sentence_label: (batch,), 0 where the second text follows the first, 1 where it doesn't.

        Raises:
            InputError: one of the labels is given without the other.
        """
        if (labels is None) != (next_sentence_label is None):
            raise InputError("Give both of `labels` and `next_sentence_label`, or neither: the loss is the sum of two.")
        outputs = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        words = self.cls.predictions(outputs.last_hidden_state)
        follows = self.cls.seq_relationship(outputs.pooler_output)
        loss = None
        if labels is not None and next_sentence_label is not None:
            loss = masked_lm_loss(words, labels) + sequence_classification_loss(
                follows, next_sentence_label, "single_label_classification"
            )
        output = BertForPreTrainingOutput(
            loss=loss,
            prediction_logits=words,
            seq_relationship_logits=follows,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()
