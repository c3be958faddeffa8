"""Task heads of ALBERT (https://arxiv.org/abs/1909.11942)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from transept.errors import InputError
from transept.nn import (
    EncoderForMaskedLM,
    EncoderForMultipleChoice,
    EncoderForQuestionAnswering,
    EncoderForSequenceClassification,
    EncoderForTokenClassification,
    PredictsWords,
    WordScores,
    activation,
)
from transept.nn.losses import masked_lm_loss, sequence_classification_loss
from transept.outputs import ModelOutput

from .configuration import AlbertConfig
from .modeling import AlbertModel, AlbertPreTrainedModel

__all__ = [
    "AlbertForMaskedLM",
    "AlbertForMultipleChoice",
    "AlbertForPreTraining",
    "AlbertForPreTrainingOutput",
    "AlbertForQuestionAnswering",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
]

AlbertModelWithoutPooler = partial(AlbertModel, add_pooling_layer=False)


@dataclass
class AlbertForPreTrainingOutput(ModelOutput):
    """`prediction_logits` (batch, seq, vocab_size), `sop_logits` (batch, num_labels); the rest as in `transept.outputs`."""

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    sop_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class AlbertMLMHead(WordScores):
    """Scores of every word: hidden states narrowed to the size of word embeddings, activated and normed; then those embeddings."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config.embedding_size, config.vocab_size)
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.act_fn = activation(config.hidden_act)
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)

    def transformed(self, hidden_states: Tensor) -> Tensor:
        return self.LayerNorm(self.act_fn(self.dense(hidden_states)))


class AlbertSOPHead(nn.Module):
    """Whether two texts stand in their order, from the pooled state."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pooled: Tensor) -> Tensor:
        """(batch, num_labels) from (batch, hidden_size)."""
        return self.classifier(self.dropout(pooled))


class AlbertWordPrediction(PredictsWords, AlbertPreTrainedModel):
    """What the classes share that predict words."""

    word_scores_name = "predictions"
    _tied_weights_keys = {  # noqa: RUF012
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    }


class AlbertForPreTraining(AlbertWordPrediction):
    """Masked words and the order of sentences, the two tasks of pre-training."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.albert = AlbertModel(config)
        self.predictions = AlbertMLMHead(config)
        self.sop_classifier = AlbertSOPHead(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        sentence_order_label: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> AlbertForPreTrainingOutput | tuple[Any, ...]:
        """Scores of both tasks; the sum of their losses where both labels are given. Other arguments are `AlbertModel.forward`'s.

        Args:
            labels: (batch, seq) token ids, -100 where none counts.
            sentence_order_label: (batch,), 0 where the texts stand in their order, 1 where they changed places.

        Raises:
            InputError: one of the labels is given without the other.
        """
        if (labels is None) != (sentence_order_label is None):
            raise InputError("Give both of `labels` and `sentence_order_label`, or neither: the loss is the sum of two.")
        outputs = self.albert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        words = self.predictions(outputs.last_hidden_state)
        order = self.sop_classifier(outputs.pooler_output)
        loss = None
        if labels is not None and sentence_order_label is not None:
            loss = masked_lm_loss(words, labels) + sequence_classification_loss(
                order, sentence_order_label, "single_label_classification"
            )
        output = AlbertForPreTrainingOutput(
            loss=loss,
            prediction_logits=words,
            sop_logits=order,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()


class AlbertForMaskedLM(EncoderForMaskedLM, AlbertWordPrediction):
    """Scores of the word at each position, (batch, seq, vocab_size)."""

    base_model_class = AlbertModelWithoutPooler

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__(config)
        self.predictions = AlbertMLMHead(config)
        self.post_init()


class AlbertForSequenceClassification(EncoderForSequenceClassification, AlbertPreTrainedModel):
    """The encoder with one prediction a sequence."""

    base_model_class = AlbertModel


class AlbertForMultipleChoice(EncoderForMultipleChoice, AlbertPreTrainedModel):
    """The encoder with a choice among several texts."""

    base_model_class = AlbertModel


class AlbertForTokenClassification(EncoderForTokenClassification, AlbertPreTrainedModel):
    """The encoder with one prediction a token."""

    base_model_class = AlbertModelWithoutPooler


class AlbertForQuestionAnswering(EncoderForQuestionAnswering, AlbertPreTrainedModel):
    """The encoder with the span of an answer."""

    base_model_class = AlbertModelWithoutPooler
