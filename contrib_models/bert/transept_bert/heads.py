"""Task heads of BERT (https://arxiv.org/abs/1810.04805); those of its pre-training are in `pretraining`."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from transept.generation import GenerationMixin
from transept.nn import (
    EncoderForMultipleChoice,
    EncoderForQuestionAnswering,
    EncoderForSequenceClassification,
    EncoderForTokenClassification,
    PostNormForCausalLM,
    PostNormForMaskedLM,
    PredictsWords,
    WordScores,
    activation,
)

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


class BertLMPredictionHead(WordScores):
    """Scores of every word, by the word embeddings and a bias."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config.hidden_size, config.vocab_size)
        self.transform = BertPredictionHeadTransform(config)

    def transformed(self, hidden_states: Tensor) -> Tensor:
        return self.transform(hidden_states)


class BertHeads(nn.Module):
    """The heads of pre-training, or one of them: `predictions` of words, `seq_relationship` of the pooled state."""

    def __init__(self, config: BertConfig, *, predictions: bool = False, seq_relationship: bool = False) -> None:
        super().__init__()
        if predictions:
            self.predictions = BertLMPredictionHead(config)
        if seq_relationship:
            self.seq_relationship = nn.Linear(config.hidden_size, 2)


class BertWordPrediction(PredictsWords, BertPreTrainedModel):
    """What the classes share that predict words."""

    word_scores_name = "cls.predictions"
    _tied_weights_keys = {  # noqa: RUF012
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }


class BertForMaskedLM(PostNormForMaskedLM, BertWordPrediction):
    """Scores of the word at each position, (batch, seq, vocab_size)."""

    base_model_class = BertModelWithoutPooler

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.cls = BertHeads(config, predictions=True)
        self.post_init()


class BertLMHeadModel(PostNormForCausalLM, BertWordPrediction, GenerationMixin):
    """A decoder with scores of the next word."""

    base_model_class = BertModelWithoutPooler

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.cls = BertHeads(config, predictions=True)
        self.post_init()


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
