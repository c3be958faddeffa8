"""Task heads that any decoder family can wear: mixed in before the family's `PreTrainedModel`.

class LlamaForTokenClassification(ForTokenClassification, LlamaPreTrainedModel):
    base_model_class = LlamaModel
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..outputs import (
    CausalLMOutputWithPast,
    ModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from .logits import keep_positions
from .losses import question_answering_loss, sequence_classification_loss, token_classification_loss

__all__ = ["ForCausalLM", "ForQuestionAnswering", "ForSequenceClassification", "ForTokenClassification"]


class Head(nn.Module):
    """A base model under the name `base_model_prefix`, and what the model class it is mixed into gives it."""

    _other_base_prefixes = ("transformer",)  # as in `Decoder`
    base_model_class: ClassVar[Callable[[Any], nn.Module]]
    """The family's model without a head; built from the configuration."""
    output_class: ClassVar[type[ModelOutput]]
    """What the head returns; beside loss and logits it has what the base model returned under the same names."""
    if TYPE_CHECKING:
        config: Any
        base_model_prefix: ClassVar[str]
        base_model: nn.Module
        post_init: Callable[[], None]
        output_options: Callable[..., tuple[bool, bool, bool]]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        setattr(self, self.base_model_prefix, type(self).base_model_class(config))

    def loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the head is trained on; unless a class says otherwise, the classes of sequences."""
        return sequence_classification_loss(logits, labels, self.config.problem_type)

    def answer(
        self, outputs: Any, logits: Tensor, labels: Tensor | None, return_dict: bool | None, **options: Any
    ) -> ModelOutput | tuple[Any, ...]:
        """The head's output, from the base model's and the logits; `options` go to `loss_of`."""
        loss = None if labels is None else self.loss_of(logits, labels, **options)
        return self.with_fields_of(outputs, return_dict, loss=loss, logits=logits)

    def with_fields_of(self, outputs: Any, return_dict: bool | None, **own: Any) -> ModelOutput | tuple[Any, ...]:
        """The head's output: its own fields, and the others from the base model's."""
        fields = self.output_class.__dataclass_fields__.keys() - own.keys()  # type: ignore[attr-defined]
        output = self.output_class(**own, **{name: getattr(outputs, name) for name in fields})
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()


class ForCausalLM(Head):
    """Logits of the next token, (batch, seq, vocab_size), from a linear layer that may be tied to the token embedding.

    What a family does to its logits is an override of `scores`; a class that generates derives from `GenerationMixin` too.
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012
    output_class = CausalLMOutputWithPast
    if TYPE_CHECKING:
        loss_function: Callable[..., Tensor]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def scores(self, hidden_states: Tensor) -> Tensor:
        """Logits (…, vocab_size) from (…, hidden_size)."""
        return self.lm_head(hidden_states)

    def loss_of(self, logits: Tensor, labels: Tensor, *, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return self.loss_function(logits, labels, num_items_in_batch=num_items_in_batch)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Logits of the next token, (batch, seq, vocab_size); arguments beyond these are the base model's.

        Args:
            labels: (batch, seq) token ids, unshifted, -100 where none counts: asks for a loss.
            logits_to_keep: positions that logits are wanted for (see `transept.nn.keep_positions`); 0: all.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        outputs = self.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.scores(keep_positions(outputs.last_hidden_state, logits_to_keep))
        return self.answer(outputs, logits, labels, return_dict, num_items_in_batch=num_items_in_batch)


class _DecoderHead(Head):
    def scores(self, outputs: Any, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        """Logits, from what the base model returned for these inputs."""
        raise NotImplementedError

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Logits, and a loss where there are `labels`, as the class says; arguments beyond these are the base model's."""
        outputs = self.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        return self.answer(outputs, self.scores(outputs, input_ids, attention_mask), labels, return_dict)


class ForSequenceClassification(_DecoderHead):
    """One prediction a sequence: logits (batch, num_labels) at the last token of each row that is not `pad_token_id`; of
    `inputs_embeds`, at the last position that `attention_mask` keeps.

    Labels are as in `transept.nn.losses.sequence_classification_loss`; the configuration's `problem_type` chooses the loss.
    Several sequences and no `pad_token_id` in the configuration are an `InputError`.
    """

    new_on_load = ("score.*",)
    output_class = SequenceClassifierOutputWithPast

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def scores(self, outputs: Any, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        last = self._last_positions(outputs.last_hidden_state, input_ids, attention_mask)
        rows = torch.arange(last.shape[0], device=last.device)
        return self.score(outputs.last_hidden_state[rows, last])

    def _last_positions(self, hidden_states: Tensor, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        """The position of each row's last token: (batch,)."""
        batch, length = hidden_states.shape[:2]
        pad = self.config.pad_token_id
        if pad is None and batch != 1:
            raise InputError(
                "Several sequences are scored at their last tokens, which takes a padding token to find: set `config.pad_token_id`."
            )
        if input_ids is not None and pad is not None:
            is_token = input_ids.to(hidden_states.device) != pad
        elif input_ids is None and attention_mask is not None and attention_mask.dim() == 2:
            is_token = attention_mask[:, -length:].to(hidden_states.device) != 0
        else:
            return torch.full((batch,), length - 1, device=hidden_states.device)
        return (torch.arange(length, device=hidden_states.device, dtype=torch.int32) * is_token).argmax(dim=-1)


class ForTokenClassification(_DecoderHead):
    """One prediction a token: logits (batch, seq, num_labels), labels (batch, seq), of which -100 doesn't count."""

    classifier_name: ClassVar[str] = "score"
    """The linear layer's name in checkpoints; `new_on_load` goes with it."""
    new_on_load = ("score.*",)
    output_class = TokenClassifierOutput

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        dropout = getattr(config, "classifier_dropout", None)
        dropout = getattr(config, "hidden_dropout", None) if dropout is None else dropout
        self.dropout = nn.Dropout(0.1 if dropout is None else dropout)
        setattr(self, self.classifier_name, nn.Linear(config.hidden_size, config.num_labels))
        self.post_init()

    def scores(self, outputs: Any, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        classifier: nn.Module = getattr(self, self.classifier_name)
        logits: Tensor = classifier(self.dropout(outputs.last_hidden_state))
        return logits

    def loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        return token_classification_loss(logits, labels)


class ForQuestionAnswering(Head):
    """The span of a context that answers a question: scores of its first and last token."""

    new_on_load = ("qa_outputs.*",)
    output_class: ClassVar[type[ModelOutput]] = QuestionAnsweringModelOutput

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ModelOutput | tuple[Any, ...]:
        """Logits (batch, seq) for the answer's start and end; a loss where both positions (batch,) are given.

        Raises:
            InputError: one of the positions is given without the other.
        """
        outputs = self.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        return self.spans(outputs, start_positions, end_positions, return_dict)

    def spans(
        self, outputs: Any, start_positions: Tensor | None, end_positions: Tensor | None, return_dict: bool | None
    ) -> ModelOutput | tuple[Any, ...]:
        """The head's output, from what the base model returns."""
        if (start_positions is None) != (end_positions is None):
            raise InputError("Give both of `start_positions` and `end_positions`, or neither.")
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(dim=-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = question_answering_loss(start_logits, end_logits, start_positions, end_positions)
        logits = {"start_logits": start_logits.contiguous(), "end_logits": end_logits.contiguous()}
        return self.with_fields_of(outputs, return_dict, loss=loss, **logits)
