"""Task heads of RoBERTa (https://arxiv.org/abs/1907.11692)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from transept.generation import GenerationMixin
from transept.nn import (
    ClassificationHead,
    EncoderForMultipleChoice,
    EncoderForQuestionAnswering,
    EncoderForSequenceClassification,
    EncoderForTokenClassification,
    PostNormForCausalLM,
    PostNormForMaskedLM,
    PredictsWords,
    WordScores,
)

from .configuration import RobertaConfig
from .modeling import RobertaModel, RobertaPreTrainedModel

__all__ = [
    "RobertaForCausalLM",
    "RobertaForMaskedLM",
    "RobertaForMultipleChoice",
    "RobertaForQuestionAnswering",
    "RobertaForSequenceClassification",
    "RobertaForTokenClassification",
]

RobertaModelWithoutPooler = partial(RobertaModel, add_pooling_layer=False)


class RobertaLMHead(WordScores):
    """Scores of every word: a dense layer, GELU, a norm, then the word embeddings and a bias."""

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config.hidden_size, config.vocab_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def transformed(self, hidden_states: Tensor) -> Tensor:
        return self.layer_norm(F.gelu(self.dense(hidden_states)))


class RobertaWordPrediction(PredictsWords, RobertaPreTrainedModel):
    """What the classes share that predict words."""

    word_scores_name = "lm_head"
    _tied_weights_keys = {  # noqa: RUF012
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }


class RobertaForMaskedLM(PostNormForMaskedLM, RobertaWordPrediction):
    """Scores of the word at each position, (batch, seq, vocab_size)."""

    base_model_class = RobertaModelWithoutPooler

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.lm_head = RobertaLMHead(config)
        self.post_init()


class RobertaForCausalLM(PostNormForCausalLM, RobertaWordPrediction, GenerationMixin):
    """A decoder with scores of the next word."""

    base_model_class = RobertaModelWithoutPooler
    counts_positions = True

    def __init__(self, config: RobertaConfig) -> None:
        super().__init__(config)
        self.lm_head = RobertaLMHead(config)
        self.post_init()


class RobertaForSequenceClassification(EncoderForSequenceClassification, RobertaPreTrainedModel):
    """One prediction a sequence: logits (batch, num_labels), of the first token's state through a layer with tanh."""

    base_model_class = RobertaModelWithoutPooler

    def build(self, config: RobertaConfig) -> None:
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.classifier = ClassificationHead(config.hidden_size, config.num_labels, dropout)

    def scores(self, outputs: Any) -> Tensor:
        return self.classifier(outputs.last_hidden_state[:, 0])


class RobertaForMultipleChoice(EncoderForMultipleChoice, RobertaPreTrainedModel):
    """The encoder with a choice among several texts; arguments come in another order than those of the other heads."""

    base_model_class = RobertaModel

    def build(self, config: RobertaConfig) -> None:
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, 1)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """As `EncoderForMultipleChoice.forward`."""
        return super().forward(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            labels,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )


class RobertaForTokenClassification(EncoderForTokenClassification, RobertaPreTrainedModel):
    """The encoder with one prediction a token."""

    base_model_class = RobertaModelWithoutPooler


class RobertaForQuestionAnswering(EncoderForQuestionAnswering, RobertaPreTrainedModel):
    """The encoder with the span of an answer."""

    base_model_class = RobertaModelWithoutPooler
