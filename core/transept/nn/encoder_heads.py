"""Task heads that any encoder family can wear: mixed in before the family's `PreTrainedModel`, as those of `heads` are.

class BertForMultipleChoice(EncoderForMultipleChoice, BertPreTrainedModel):
    base_model_class = BertModel
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import InputError
from ..outputs import MultipleChoiceModelOutput, SequenceClassifierOutput, TokenClassifierOutput
from .heads import ForQuestionAnswering, Head
from .losses import sequence_classification_loss, token_classification_loss

__all__ = [
    "EncoderForMultipleChoice",
    "EncoderForQuestionAnswering",
    "EncoderForSequenceClassification",
    "EncoderForTokenClassification",
    "EncoderHead",
]


class EncoderHead(Head):
    """Base of a head with one kind of logits: a class of its own gives `scores`, `output_class` and its loss."""

    def scores(self, outputs: Any) -> Tensor:
        """Logits, from what the base model returns."""
        raise NotImplementedError

    def run(self, **arguments: Any) -> Any:
        """The base model's output, for its arguments."""
        return self.base_model(**arguments, return_dict=True)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits, and a loss where there are `labels`, as the class says; arguments beyond these are the base model's."""
        outputs = self.run(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return self.answer(outputs, self.scores(outputs), labels, return_dict)


class _Classifier(EncoderHead):
    new_on_load = ("classifier.*", "*.pooler.*")  # a checkpoint of another task may lack the pooler
    dropout: nn.Module
    classifier: nn.Module

    def __init__(self, config: Any, num_labels: int | None = None) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels if num_labels is None else num_labels
        self.build(config)
        self.post_init()

    def build(self, config: Any) -> None:
        """Make what stands between the base model and the logits; a family with more than this overrides it."""
        rates = map(config.get, ("classifier_dropout", "classifier_dropout_prob", "hidden_dropout_prob", "dropout"))
        self.dropout = nn.Dropout(next(rate for rate in rates if rate is not None))
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)

    def pooled(self, outputs: Any) -> Tensor:
        """A summary of each sequence, (…, hidden_size), from what the base model returns."""
        return outputs.pooler_output


class EncoderForSequenceClassification(_Classifier):
    """One prediction a sequence: logits (batch, num_labels) of the pooled first token.

    Labels are as in `transept.nn.losses.sequence_classification_loss`; the configuration's `problem_type` chooses the loss.
    """

    output_class = SequenceClassifierOutput

    def scores(self, outputs: Any) -> Tensor:
        return self.classifier(self.dropout(self.pooled(outputs)))


class EncoderForTokenClassification(_Classifier):
    """One prediction a token: logits (batch, seq, num_labels), labels (batch, seq), of which -100 doesn't count."""

    output_class = TokenClassifierOutput

    def scores(self, outputs: Any) -> Tensor:
        return self.classifier(self.dropout(outputs.last_hidden_state))

    def loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        return token_classification_loss(logits, labels)


class EncoderForMultipleChoice(_Classifier):
    """Which of several texts fits: inputs are (batch, choices, seq), logits (batch, choices), labels (batch,)."""

    output_class = MultipleChoiceModelOutput

    def __init__(self, config: Any) -> None:
        super().__init__(config, num_labels=1)

    def run(self, **arguments: Any) -> Any:
        choices = 1
        for name, dims in (("input_ids", 3), ("inputs_embeds", 4)):
            given = arguments[name]
            if given is not None and given.dim() != dims:
                raise InputError(
                    f"The input has shape {tuple(given.shape)}: it must be (batch, choices, seq), or embeddings of that."
                )
            choices = choices if given is None else given.shape[1]
        folded = {name: one.flatten(0, 1) if isinstance(one, Tensor) else one for name, one in arguments.items()}
        outputs = super().run(**folded)
        for name in ("last_hidden_state", "pooler_output"):
            states = getattr(outputs, name, None)
            if states is not None:
                setattr(outputs, name, states.unflatten(0, (-1, choices)))
        return outputs

    def scores(self, outputs: Any) -> Tensor:
        return self.classifier(self.dropout(self.pooled(outputs))).squeeze(-1)

    def loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        return sequence_classification_loss(logits, labels, "single_label_classification")


class EncoderForQuestionAnswering(ForQuestionAnswering):
    """The span of a context that answers a question: scores of its first and last token."""

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
    ) -> Any:
        """As `ForQuestionAnswering.forward`, for an encoder's inputs."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self.spans(self.base_model(*inputs, **shown, return_dict=True), start_positions, end_positions, return_dict)
