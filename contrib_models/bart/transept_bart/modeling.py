"""BART (https://arxiv.org/abs/1910.13461): a bidirectional encoder and a causal decoder over learned positions, which were trained
to mend corrupted text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.errors import InputError
from transept.generation import GenerationMixin
from transept.nn import encode_and_decode, shift_tokens_right
from transept.nn.embeddings import resize_embedding
from transept.nn.heads import Head
from transept.nn.losses import masked_lm_loss
from transept.outputs import Seq2SeqLMOutput, Seq2SeqModelOutput

from .configuration import BartConfig
from .stack import BartDecoder, BartEncoder, BartPreTrainedModel, token_embedding

__all__ = ["BartForConditionalGeneration", "BartModel", "BartPreTrainedModel"]


class BartModel(BartPreTrainedModel):
    """Encoder and decoder without a head."""

    _tied_weights_keys = {  # noqa: RUF012
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    }

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.shared = token_embedding(config)
        self.encoder = BartEncoder(config)
        self.decoder = BartDecoder(config)
        self.post_init()

    def set_input_embeddings(self, value: nn.Module) -> None:
        if value is self.shared and not self.config.tie_word_embeddings:  # it was resized, and each half has a table of its own
            for half in (self.encoder, self.decoder):
                resize_embedding(half.embed_tokens, value.num_embeddings, mean=True, initialize=self._init_weights)
            return
        self.shared = self.encoder.embed_tokens = self.decoder.embed_tokens = value

    def shift_right(self, input_ids: Tensor) -> Tensor:
        """What the decoder reads where it is to write these ids, (batch, seq)."""
        return shift_tokens_right(input_ids, self.config.pad_token_id, self.config.decoder_start_token_id)

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
            attention_mask: of the encoder's input, (batch, seq), 0 at padding.
            decoder_input_ids: (batch, target seq) token ids; or else `decoder_inputs_embeds`; None of both: `input_ids` shifted to
                the right, as in pre-training.
            decoder_attention_mask: (batch, past + target seq), 0 at padding.
            encoder_outputs: what the encoder gave before, an output or a tuple, in place of its input.
            past_key_values: an `EncoderDecoderCache` with the decoder's tokens before these; it is extended in place.
            use_cache: make a cache where none is given; None: as the configuration says, and so for the options after it.
        """
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            if input_ids is None:
                raise InputError(
                    "Without `decoder_input_ids` (or `decoder_inputs_embeds`) BART needs `input_ids`, to shift them."
                )
            decoder_input_ids = self.shift_right(input_ids)
        encoder_inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
        decoder_inputs = {
            "input_ids": decoder_input_ids,
            "attention_mask": decoder_attention_mask,
            "encoder_attention_mask": attention_mask,
            "inputs_embeds": decoder_inputs_embeds,
            "past_key_values": past_key_values,
            "use_cache": use_cache,
        }
        shown = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        output = encode_and_decode(self.encoder, self.decoder, encoder_outputs, encoder_inputs, decoder_inputs, **shown)
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()


class BartForConditionalGeneration(Head, BartPreTrainedModel, GenerationMixin):
    """Encoder and decoder with a language-model head."""

    base_model_class = BartModel
    output_class = Seq2SeqLMOutput
    _tied_weights_keys = {"lm_head.weight": "model.shared.weight"}  # noqa: RUF012

    def __init__(self, config: BartConfig) -> None:
        super().__init__(config)
        self.register_buffer("final_logits_bias", torch.zeros(1, config.vocab_size))
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def reset_buffers(self, device: torch.device | str | None = None) -> None:
        """A checkpoint without `final_logits_bias` has none."""
        self.final_logits_bias = torch.zeros(self.final_logits_bias.shape, dtype=self.lm_head.weight.dtype, device=device)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Module:
        """As `PreTrainedModel.resize_token_embeddings`; the bias of new tokens is 0."""
        embedding = super().resize_token_embeddings(*args, **kwargs)
        bias, rows = self.final_logits_bias, self.config.vocab_size
        self.final_logits_bias = nn.functional.pad(bias[:, :rows], (0, max(rows - bias.shape[1], 0)))
        return embedding

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """The decoder's input for these labels; data collators ask for it."""
        return self.model.shift_right(labels)

    def loss_of(self, logits: Tensor, labels: Tensor, *, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return masked_lm_loss(logits, labels, num_items_in_batch=num_items_in_batch)

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
    ) -> Any:
        """Logits of the decoder's next token, (batch, target seq, vocab_size); arguments beyond these are `BartModel.forward`'s.

        Args:
            labels: (batch, target seq) token ids, -100 where none counts: asks for a loss. Position i is predicted from the
                decoder's position i; without input of its own the decoder gets them shifted to the right.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.model.shift_right(labels)
        outputs = self.model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            encoder_outputs,
            past_key_values,
            inputs_embeds,
            decoder_inputs_embeds,
            use_cache if labels is None else False,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.lm_head(outputs.last_hidden_state) + self.final_logits_bias
        return self.answer(outputs, logits, labels, return_dict, num_items_in_batch=num_items_in_batch)
