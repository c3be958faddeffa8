"""Task heads of BERT (https://arxiv.org/abs/1810.04805); those of its pre-training are in `pretraining`."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transept.generation import GenerationMixin
from transept.nn import (
    EncoderForMultipleChoice,
    EncoderForQuestionAnswering,
    EncoderForSequenceClassification,
    EncoderForTokenClassification,
    EncoderHead,
    activation,
    keep_positions,
)
from transept.nn.losses import masked_lm_loss
from transept.outputs import CausalLMOutputWithCrossAttentions, MaskedLMOutput

from .configuration import BertConfig
from .modeling import BertModel, BertPreTrainedModel

__all__ = [
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertLMHeadModel",
]

BertModelWithoutPooler = partial(BertModel, add_pooling_layer=False)


class BertPredictionHeadTransform(nn.Module):
    """A dense layer, activated and normed."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act_fn = activation(config.hidden_act)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(…, hidden_size) in and out."""
        return self.LayerNorm(self.act_fn(self.dense(hidden_states)))


class BertLMPredictionHead(nn.Module):
    """Scores of every word, by the word embeddings and a bias."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        # checkpoints carry the bias under this name; `decoder.bias` is tied to it
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(…, vocab_size) from (…, hidden_size)."""
        return self.decoder(self.transform(hidden_states))


class BertHeads(nn.Module):
    """The heads of pre-training, or one of them: `predictions` of words, `seq_relationship` of the pooled state."""

    def __init__(self, config: BertConfig, *, predictions: bool = False, seq_relationship: bool = False) -> None:
        super().__init__()
        if predictions:
            self.predictions = BertLMPredictionHead(config)
        if seq_relationship:
            self.seq_relationship = nn.Linear(config.hidden_size, 2)


class BertWordPrediction(BertPreTrainedModel):
    """What the classes share that predict words."""

    _tied_weights_keys = {  # noqa: RUF012
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    cls: BertHeads

    def get_output_embeddings(self) -> nn.Module:
        return self.cls.predictions.decoder

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.cls.predictions.decoder = value
        self.cls.predictions.bias = value.bias


class BertForMaskedLM(EncoderHead, BertWordPrediction):
    """Scores of the word at each position, (batch, seq, vocab_size)."""

    base_model_class = BertModelWithoutPooler
    output_class = MaskedLMOutput

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        if config.is_decoder:
            warnings.warn("`BertForMaskedLM` of a decoder sees no word to the right: set `is_decoder=False`.", stacklevel=2)
        self.cls = BertHeads(config, predictions=True)
        self.post_init()

    def scores(self, outputs: Any) -> Tensor:
        return self.cls.predictions(outputs.last_hidden_state)

    def loss_of(self, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return masked_lm_loss(logits, labels, num_items_in_batch=num_items_in_batch)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> MaskedLMOutput | tuple[Any, ...]:
        """Scores, and a loss where there are labels. Other arguments are `BertModel.forward`'s.

        Args:
            labels: (batch, seq) token ids, -100 where none counts.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs = self.run(
            *inputs,
            encoder_hidden_states,
            encoder_attention_mask,
            use_cache=False,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return self.answer(outputs, self.scores(outputs), labels, return_dict, num_items_in_batch=num_items_in_batch)


class BertLMHeadModel(BertWordPrediction, GenerationMixin):
    """A decoder with scores of the next word."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        if not config.is_decoder:
            warnings.warn(
                "`BertLMHeadModel` of an encoder sees the words that it predicts: set `is_decoder=True`.", stacklevel=2
            )
        self.bert = BertModel(config, add_pooling_layer=False)
        self.cls = BertHeads(config, predictions=True)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> CausalLMOutputWithCrossAttentions | tuple[Any, ...]:
        """Logits of the next token, (batch, seq, vocab_size); arguments beyond these are `BertModel.forward`'s.

        Args:
            labels: (batch, seq) token ids, unshifted, -100 where none counts: asks for a loss, and no cache is made.
            logits_to_keep: positions that logits are wanted for (see `transept.nn.keep_positions`); 0: all.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        outputs = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            encoder_hidden_states,
            encoder_attention_mask,
            past_key_values,
            False if use_cache is None and labels is not None else use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.cls.predictions(keep_positions(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items_in_batch)
        output = CausalLMOutputWithCrossAttentions(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()


class BertForSequenceClassification(EncoderForSequenceClassification, BertPreTrainedModel):
    """The encoder with one prediction a sequence."""

    base_model_class = BertModel


class BertForMultipleChoice(EncoderForMultipleChoice, BertPreTrainedModel):
    """The encoder with a choice among several texts."""

    base_model_class = BertModel


class BertForTokenClassification(EncoderForTokenClassification, BertPreTrainedModel):
    """The encoder with one prediction a token."""

    base_model_class = BertModelWithoutPooler


class BertForQuestionAnswering(EncoderForQuestionAnswering, BertPreTrainedModel):
    """The encoder with the span of an answer."""

    base_model_class = BertModelWithoutPooler
