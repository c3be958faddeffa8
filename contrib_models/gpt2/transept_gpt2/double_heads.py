"""GPT-2 with two heads, for choices between continuations (https://arxiv.org/abs/1901.08149): language model, and which fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from transept.errors import ConfigError, InputError
from transept.generation import GenerationMixin
from transept.nn import activation
from transept.nn.losses import sequence_classification_loss
from transept.outputs import ModelOutput

from .configuration import GPT2Config
from .modeling import GPT2Model, GPT2PreTrainedModel

__all__ = ["GPT2DoubleHeadsModel", "GPT2DoubleHeadsModelOutput", "GPT2SequenceSummary"]

_SUMMARIES = ("cls_index", "last", "first", "mean")


@dataclass
class GPT2DoubleHeadsModelOutput(ModelOutput):
    """Of a language model that also picks one of several continuations: `mc_loss` () and `mc_logits` (batch, choices)."""

    loss: Tensor | None = None
    mc_loss: Tensor | None = None
    logits: Tensor | None = None
    mc_logits: Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class GPT2SequenceSummary(nn.Module):
    """One vector for each sequence, as the fields of the configuration that begin with `summary_` say.

    Raises:
        ConfigError: a `summary_type` that there is not.
    """

    def __init__(self, config: GPT2Config, num_labels: int) -> None:
        super().__init__()
        if config.summary_type not in _SUMMARIES:
            raise ConfigError(f"`summary_type` is `{config.summary_type}`: it must be one of {', '.join(_SUMMARIES)}.")
        self.summary_type = config.summary_type
        size = num_labels if config.summary_proj_to_labels else config.n_embd
        self.summary = nn.Linear(config.n_embd, size) if config.summary_use_proj else nn.Identity()
        self.activation = activation(config.summary_activation or "linear")
        self.first_dropout = nn.Dropout(config.summary_first_dropout)
        self.last_dropout = nn.Dropout(config.get("summary_last_dropout", 0.0))

    def forward(self, hidden_states: Tensor, cls_index: Tensor | None = None) -> Tensor:
        """(…, labels or n_embd) of (…, seq, n_embd); `cls_index` (…) says which token counts, None: the last."""
        if cls_index is not None and self.summary_type != "cls_index":
            raise InputError(f"`mc_token_ids` say which tokens are scored, and `summary_type` is `{self.summary_type}`.")
        if self.summary_type == "mean":
            found = hidden_states.mean(dim=-2)
        elif cls_index is None:
            found = hidden_states[..., 0 if self.summary_type == "first" else -1, :]
        else:
            found = _at(hidden_states, cls_index)
        return self.last_dropout(self.activation(self.summary(self.first_dropout(found))))


def _at(hidden_states: Tensor, index: Tensor) -> Tensor:
    """(…, n_embd): of each sequence in (…, seq, n_embd) the state at its index (…)."""
    if index.shape != hidden_states.shape[:-2]:
        expected = tuple(hidden_states.shape[:-2])
        raise InputError(f"`mc_token_ids` has shape {tuple(index.shape)}: one for each sequence is {expected}.")
    try:
        places = index[..., None, None].expand(*index.shape, 1, hidden_states.shape[-1])
        return hidden_states.gather(-2, places).squeeze(-2)
    except RuntimeError as error:
        length = hidden_states.shape[-2]
        raise InputError(f"`mc_token_ids` go from {int(index.min())} to {int(index.max())}, in {length} tokens.") from error


class GPT2DoubleHeadsModel(GPT2PreTrainedModel, GenerationMixin):
    """The decoder with a language-model head, and one that scores each of several continuations."""

    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # noqa: RUF012
    new_on_load = ("multiple_choice_head.*", *GPT2PreTrainedModel.new_on_load)

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.multiple_choice_head = GPT2SequenceSummary(config, num_labels=1)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        mc_token_ids: Tensor | None = None,
        labels: Tensor | None = None,
        mc_labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> GPT2DoubleHeadsModelOutput | tuple[Any, ...]:
        """Logits of the next token, (batch, choices, seq, vocab_size), and of the choices, (batch, choices).

        The first six arguments are `GPT2Model.forward`'s, with the choices between batch and sequence; or as they are there,
        when there are no choices, and `mc_logits` is (batch,). Hidden states but the last, and attentions, are of
        batch * choices rows.

        Args:
            mc_token_ids: (batch, choices), the token of each sequence that is scored; None: the last.
            labels: (batch, choices, seq) token ids, unshifted, -100 where none counts: asks for `loss`.
            mc_labels: (batch,), the choice that is right: asks for `mc_loss`.
            num_items_in_batch: `loss` is the sum divided by this, in place of the mean.
        """
        *_, return_dict = self.output_options(return_dict=return_dict)
        outputs = self.transformer(
            _rows(input_ids),
            past_key_values,
            _rows(attention_mask),
            _rows(token_type_ids),
            _rows(position_ids),
            None if inputs_embeds is None else inputs_embeds.flatten(0, -3),
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        given = input_ids if inputs_embeds is None else inputs_embeds[..., 0]
        assert given is not None  # the decoder has refused that
        hidden_states = outputs.last_hidden_state.unflatten(0, given.shape[:-1])  # (batch, choices, seq, n_embd)
        shown = outputs.hidden_states
        logits = self.lm_head(hidden_states)
        mc_logits = self.multiple_choice_head(hidden_states, mc_token_ids).squeeze(-1)
        loss = mc_loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items_in_batch)
        if mc_labels is not None:
            scores = mc_logits.reshape(-1, mc_logits.shape[-1])
            mc_loss = sequence_classification_loss(scores, mc_labels, "single_label_classification")
        output = GPT2DoubleHeadsModelOutput(
            loss=loss,
            mc_loss=mc_loss,
            logits=logits,
            mc_logits=mc_logits,
            past_key_values=outputs.past_key_values,
            hidden_states=shown if shown is None else (*shown[:-1], hidden_states),
            attentions=outputs.attentions,
        )
        return output if return_dict else output.to_tuple()


def _rows(tensor: Tensor | None) -> Tensor | None:
    """(batch * choices, seq) of (batch, choices, seq)."""
    return tensor.flatten(0, -2) if tensor is not None and tensor.dim() == 3 else tensor
