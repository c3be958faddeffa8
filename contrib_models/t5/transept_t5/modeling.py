"""T5 (https://arxiv.org/abs/1910.10683): an encoder and a decoder over one embedding, with relative position biases."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transept.errors import InputError
from transept.generation import GenerationMixin
from transept.nn import encode_and_decode
from transept.nn.losses import masked_lm_loss
from transept.outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
)

from .configuration import T5Config
from .stack import T5PreTrainedModel, T5Stack

__all__ = ["T5EncoderDecoder", "T5EncoderModel", "T5ForConditionalGeneration", "T5Model", "T5PreTrainedModel", "T5Stack"]


class T5EncoderDecoder(T5PreTrainedModel):
    """Encoder and decoder, and the embedding that they share."""

    _always_tied_weights_keys = {  # noqa: RUF012
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    }

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Stack(config, is_decoder=False)
        self.decoder = T5Stack(config, is_decoder=True)

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.shared = self.encoder.embed_tokens = self.decoder.embed_tokens = value

    def encode_and_decode(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        decoder_input_ids: Tensor | None,
        decoder_attention_mask: Tensor | None,
        encoder_outputs: Any,
        past_key_values: Any,
        inputs_embeds: Tensor | None,
        decoder_inputs_embeds: Tensor | None,
        use_cache: bool | None,
        **options: bool | None,
    ) -> Seq2SeqModelOutput:
        """The hidden states of both; arguments are those of `T5Model.forward`."""
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            raise InputError(f"`{type(self).__name__}` needs `decoder_input_ids` (or `decoder_inputs_embeds`) for its decoder.")
        encoder_inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
        decoder_inputs = {
            "input_ids": decoder_input_ids,
            "attention_mask": decoder_attention_mask,
            "encoder_attention_mask": attention_mask,
            "inputs_embeds": decoder_inputs_embeds,
            "past_key_values": past_key_values,
            "use_cache": use_cache,
        }
        return encode_and_decode(self.encoder, self.decoder, encoder_outputs, encoder_inputs, decoder_inputs, **options)


class T5Model(T5EncoderDecoder):
    """Encoder and decoder without a head."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Seq2SeqModelOutput | tuple[Any, ...]:
        """Hidden states of every position of the decoder.

        Args:
            input_ids: the encoder's, (batch, seq) token ids; or else `inputs_embeds`, (batch, seq, d_model).
            attention_mask: of the encoder's input, (batch, seq), 0 at padding on either side; or a whole mask.
            decoder_input_ids: (batch, target seq) token ids; or else `decoder_inputs_embeds`.
            decoder_attention_mask: (batch, past + target seq), 0 at padding; or a whole mask, which says what is causal too.
            encoder_outputs: what the encoder gave before, an output or a tuple, in place of its input.
            past_key_values: an `EncoderDecoderCache` with the decoder's tokens before these; it is extended in place.
            use_cache: make a cache where none is given; None: as the configuration says, and so for the options after it.
        """
        output = self.encode_and_decode(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            inputs_embeds,
            decoder_inputs_embeds,
            use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()


class T5ForConditionalGeneration(T5EncoderDecoder, GenerationMixin):
    """Encoder and decoder with a language-model head."""

    _tied_weights_keys = {"lm_head.weight": "shared.weight"}  # noqa: RUF012

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.lm_head.init_scale = config.d_model**0.5  # type: ignore[assignment]
        self.output_scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Seq2SeqLMOutput | tuple[Any, ...]:
        """Logits of the decoder's next token, (batch, target seq, vocab_size); arguments beyond these are `T5Model.forward`'s.

        Args:
            labels: (batch, target seq) token ids, -100 where none counts: asks for a loss. Position i is predicted from the
                decoder's position i; without input of its own the decoder gets them shifted to the right.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self._shift_right(labels)
        outputs = self.encode_and_decode(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            inputs_embeds,
            decoder_inputs_embeds,
            use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        logits = self.lm_head(outputs.last_hidden_state * self.output_scale)
        loss = None if labels is None else masked_lm_loss(logits, labels, num_items_in_batch=num_items_in_batch)
        output = Seq2SeqLMOutput(
            loss=loss, logits=logits, **{name: value for name, value in outputs.items() if name != "last_hidden_state"}
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The decoder's input for these labels; data collators ask for it."""
        return self._shift_right(labels)


class T5EncoderModel(T5PreTrainedModel):
    """The encoder alone."""

    _always_tied_weights_keys = {"encoder.embed_tokens.weight": "shared.weight"}  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = ("decoder.*", "lm_head.weight")

    def __init__(self, config: T5Config) -> None:
        super().__init__(config := encoder_only(config))
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Stack(config, is_decoder=False)
        self.post_init()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.shared = self.encoder.embed_tokens = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions | tuple[Any, ...]:
        """Hidden states of every position; arguments as in `T5Model.forward`."""
        return self.encoder(
            input_ids,
            attention_mask,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )


def encoder_only(config: T5Config) -> T5Config:
    """The configuration of a model that has no decoder; the one given stays as it is."""
    return config.copy_with(is_encoder_decoder=False, use_cache=False) if config.is_encoder_decoder else config
