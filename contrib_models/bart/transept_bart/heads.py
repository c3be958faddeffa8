"""BART's decoder as a language model, and BART with heads for classification and question answering."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transept.generation import GenerationMixin
from transept.nn import Seq2SeqForQuestionAnswering, Seq2SeqForSequenceClassification, keep_positions
from transept.nn.heads import Head
from transept.nn.losses import masked_lm_loss
from transept.outputs import CausalLMOutputWithCrossAttentions

from .configuration import BartConfig
from .modeling import BartModel
from .stack import BartDecoder, BartPreTrainedModel

__all__ = ["BartDecoderWrapper", "BartForCausalLM", "BartForQuestionAnswering", "BartForSequenceClassification"]


class BartDecoderWrapper(BartPreTrainedModel):
    """Holds the decoder under the name that it has in a whole BART."""

    _input_embeddings_name = "decoder.embed_tokens"

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.decoder = BartDecoder(config)
        self.post_init()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As `BartDecoder.forward`."""
        return self.decoder(*args, **kwargs)


class BartForCausalLM(Head, BartPreTrainedModel, GenerationMixin):
    """The decoder alone, with a language-model head; it may look at the states of an encoder of another family."""

    base_model_class = BartDecoderWrapper
    output_class = CausalLMOutputWithCrossAttentions
    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = (
        *BartPreTrainedModel._keys_to_ignore_on_load_unexpected,
        "*encoder.*",
        "*shared.weight",
    )

    def __init__(self, config: BartConfig) -> None:
        super().__init__(decoder_only(config))
        config = self.config
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def loss_of(self, logits: Tensor, labels: Tensor, *, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return masked_lm_loss(logits, labels, num_items_in_batch=num_items_in_batch)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
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
        """Logits of the next token, (batch, seq, vocab_size); arguments beyond these are `BartDecoder.forward`'s.

        Args:
            labels: (batch, seq) token ids, -100 where none counts: asks for a loss. They are shifted already: position i is
                predicted from position i, as the decoder of a whole BART is trained.
            logits_to_keep: positions that logits are wanted for (see `transept.nn.keep_positions`); 0: all.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        outputs = self.model(
            input_ids,
            attention_mask,
            encoder_hidden_states,
            encoder_attention_mask,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.lm_head(keep_positions(outputs.last_hidden_state, logits_to_keep))
        return self.answer(outputs, logits, labels, return_dict, num_items_in_batch=num_items_in_batch)


class BartForSequenceClassification(Seq2SeqForSequenceClassification, BartPreTrainedModel):
    """Encoder and decoder with one prediction a sequence."""

    base_model_class = BartModel


class BartForQuestionAnswering(Seq2SeqForQuestionAnswering, BartPreTrainedModel):
    """Encoder and decoder with scores of an answer's first and last token."""

    base_model_class = BartModel


def decoder_only(config: BartConfig) -> BartConfig:
    """The configuration of a model that has no encoder; the one given stays as it is."""
    if isinstance(config, BartConfig) and (config.is_encoder_decoder or not config.is_decoder):
        return config.copy_with(is_decoder=True, is_encoder_decoder=False)
    return config
