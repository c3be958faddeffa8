"""Whisper (https://arxiv.org/abs/2212.04356): an encoder over log-mel spectrograms and a decoder that writes what it hears."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transept.errors import InputError
from transept.nn import encode_and_decode, shift_tokens_right
from transept.nn.losses import masked_lm_loss
from transept.outputs import Seq2SeqLMOutput, Seq2SeqModelOutput

from .configuration import WhisperConfig
from .generation import WhisperGenerationMixin
from .spec_augment import masked_features
from .stacks import WhisperDecoder, WhisperEncoder, WhisperPreTrainedModel

__all__ = [
    "WhisperDecoder",
    "WhisperEncoder",
    "WhisperForConditionalGeneration",
    "WhisperModel",
    "WhisperPreTrainedModel",
]


class WhisperModel(WhisperPreTrainedModel):
    """Encoder and decoder without a head."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.decoder = WhisperDecoder(config)
        self.spec_augment = config if config.apply_spec_augment else None
        self.post_init()

    def freeze_encoder(self) -> None:
        """Train nothing in the encoder."""
        self.encoder.requires_grad_(False)

    def forward(
        self,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        decoder_inputs_embeds: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Seq2SeqModelOutput | tuple[Any, ...]:
        """Hidden states of every token of the decoder.

        Args:
            input_features: (batch, num_mel_bins, 2 * max_source_positions) floats.
            attention_mask: (batch, frames), 0 where a recording was filled up: there SpecAugment hides nothing. It does nothing else.
            decoder_input_ids: (batch, seq) token ids; or else `decoder_inputs_embeds`, (batch, seq, d_model).
            decoder_attention_mask: (batch, past + seq), 0 at padding; or a whole mask (see `transept.nn.decoder_mask`).
            encoder_outputs: what the encoder gave before, an output or a tuple, in place of its input.
            past_key_values: an `EncoderDecoderCache` with the decoder's tokens before these; it is extended in place.
            decoder_position_ids: (batch or 1, seq); None: counted from each row's first token.
            use_cache: make a cache where none is given; None: as the configuration says, and so for the options after it.
        """
        if self.training and self.spec_augment is not None and encoder_outputs is None and input_features is not None:
            input_features = masked_features(input_features, self.spec_augment, attention_mask)
        output = encode_and_decode(
            self.encoder,
            self.decoder,
            encoder_outputs,
            {"input_features": input_features},
            {
                "input_ids": decoder_input_ids,
                "attention_mask": decoder_attention_mask,
                "past_key_values": past_key_values,
                "inputs_embeds": decoder_inputs_embeds,
                "position_ids": decoder_position_ids,
                "use_cache": use_cache,
            },
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()


class WhisperForConditionalGeneration(WhisperGenerationMixin, WhisperPreTrainedModel):
    """Encoder and decoder with a language-model head: transcribes speech, and translates it to English."""

    _tied_weights_keys = {"proj_out.weight": "model.decoder.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.model = WhisperModel(config)
        self.proj_out = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.start_and_padding = (config.decoder_start_token_id, config.pad_token_id)
        self.max_target_positions = config.max_target_positions
        self.adopt_generation_settings()
        self.post_init()

    def freeze_encoder(self) -> None:
        """Train nothing in the encoder."""
        self.model.freeze_encoder()

    def forward(
        self,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        decoder_inputs_embeds: Tensor | None = None,
        decoder_position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Seq2SeqLMOutput | tuple[Any, ...]:
        """Logits of the next token, (batch, seq, vocab_size); arguments beyond these are `WhisperModel.forward`'s.

        Args:
            labels: (batch, seq) token ids, -100 where none counts: asks for a loss. Without input of its own the decoder gets them
                shifted to the right.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.

        Raises:
            InputError: more labels than the decoder has positions.
        """
        if labels is not None:
            if labels.shape[-1] > self.max_target_positions:
                raise InputError(
                    f"`labels` has {labels.shape[-1]} tokens, and the decoder {self.max_target_positions} positions."
                )
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        outputs = self.model(
            input_features,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            decoder_inputs_embeds,
            decoder_position_ids,
            use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.proj_out(outputs.last_hidden_state)
        loss = None if labels is None else masked_lm_loss(logits, labels, num_items_in_batch=num_items_in_batch)
        output = Seq2SeqLMOutput(
            loss=loss, logits=logits, **{name: value for name, value in outputs.items() if name != "last_hidden_state"}
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The decoder's input for these labels; data collators ask for it."""
        start, padding = self.start_and_padding
        return shift_tokens_right(labels, padding, start)
