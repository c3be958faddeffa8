"""Task heads of DistilBERT (https://arxiv.org/abs/1910.01108). Arguments come in an order of their own, without segments."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from transept.nn import (
    EncoderForMultipleChoice,
    EncoderForQuestionAnswering,
    EncoderForSequenceClassification,
    EncoderForTokenClassification,
    EncoderHead,
    activation,
)
from transept.nn.losses import masked_lm_loss
from transept.outputs import MaskedLMOutput

from .configuration import DistilBertConfig
from .modeling import NORM_EPS, DistilBertModel, DistilBertPreTrainedModel

__all__ = [
    "DistilBertForMaskedLM",
    "DistilBertForMultipleChoice",
    "DistilBertForQuestionAnswering",
    "DistilBertForSequenceClassification",
    "DistilBertForTokenClassification",
]


class DistilBertHead(EncoderHead):
    """A head's arguments in the family's order."""

    base_model_class = DistilBertModel

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits, and a loss where there are `labels`, as the class says; arguments beyond these are `DistilBertModel.forward`'s."""
        outputs = self.run(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            position_ids=position_ids,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return self.answer(outputs, self.scores(outputs), labels, return_dict)


class PooledFirstState(DistilBertHead):
    """A summary of each sequence: the first token's state through a dense layer and ReLU."""

    new_on_load = ("pre_classifier.*", "classifier.*")
    num_labels: int

    def build(self, config: DistilBertConfig) -> None:
        self.pre_classifier = nn.Linear(config.dim, config.dim)
        self.classifier = nn.Linear(config.dim, self.num_labels)
        self.dropout = nn.Dropout(config.seq_classif_dropout)

    def pooled(self, outputs: Any) -> Tensor:
        return F.relu(self.pre_classifier(outputs.last_hidden_state[..., 0, :]))


class DistilBertForMaskedLM(DistilBertHead, DistilBertPreTrainedModel):
    """Scores of the word at each position, (batch, seq, vocab_size); labels (batch, seq), of which -100 doesn't count."""

    output_class = MaskedLMOutput
    _output_embeddings_name = "vocab_projector"
    _tied_weights_keys = {"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"}  # noqa: RUF012

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.act_fn = activation(config.activation)
        self.vocab_transform = nn.Linear(config.dim, config.dim)
        self.vocab_layer_norm = nn.LayerNorm(config.dim, eps=NORM_EPS)
        self.vocab_projector = nn.Linear(config.dim, config.vocab_size)
        self.post_init()

    def scores(self, outputs: Any) -> Tensor:
        transformed = self.vocab_layer_norm(self.act_fn(self.vocab_transform(outputs.last_hidden_state)))
        return self.vocab_projector(transformed)

    def loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        return masked_lm_loss(logits, labels)


class DistilBertForSequenceClassification(PooledFirstState, EncoderForSequenceClassification, DistilBertPreTrainedModel):
    """The encoder with one prediction a sequence."""


class DistilBertForMultipleChoice(PooledFirstState, EncoderForMultipleChoice, DistilBertPreTrainedModel):
    """The encoder with a choice among several texts."""


class DistilBertForTokenClassification(DistilBertHead, EncoderForTokenClassification, DistilBertPreTrainedModel):
    """The encoder with one prediction a token."""


class DistilBertForQuestionAnswering(EncoderForQuestionAnswering, DistilBertPreTrainedModel):
    """The encoder with the span of an answer."""

    base_model_class = DistilBertModel

    def __init__(self, config: DistilBertConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.qa_dropout)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """As `EncoderForQuestionAnswering.forward`, in the family's order."""
        outputs = self.base_model(
            input_ids,
            attention_mask,
            inputs_embeds,
            position_ids,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        outputs.last_hidden_state = self.dropout(outputs.last_hidden_state)
        return self.spans(outputs, start_positions, end_positions, return_dict)
