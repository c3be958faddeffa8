"""Whisper's decoder alone, and a classifier over its encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.errors import InputError
from transept.generation import GenerationMixin
from transept.nn.losses import masked_lm_loss, sequence_classification_loss
from transept.outputs import BaseModelOutput, CausalLMOutputWithCrossAttentions, ModelOutput, SequenceClassifierOutput

from .configuration import WhisperConfig
from .stacks import WhisperDecoder, WhisperEncoder, WhisperPreTrainedModel

__all__ = ["WhisperForAudioClassification", "WhisperForCausalLM"]


class WhisperDecoderWrapper(WhisperPreTrainedModel):
    """Holds the decoder under the name that it has in checkpoints of both halves."""

    main_input_name = "input_ids"

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.decoder = WhisperDecoder(config)
        self.post_init()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The decoder's."""
        return self.decoder(*args, **kwargs)


def _decoder_only(config: WhisperConfig) -> WhisperConfig:
    """The configuration of a model that has no encoder of its own; the one given stays as it is."""
    apart = isinstance(config, WhisperConfig) and config.is_encoder_decoder
    return config.copy_with(is_encoder_decoder=False) if apart else config


class WhisperForCausalLM(WhisperPreTrainedModel, GenerationMixin):
    """The decoder with a language-model head: an assistant that drafts tokens for a larger Whisper."""

    main_input_name = "input_ids"
    _tied_weights_keys = {"proj_out.weight": "model.decoder.embed_tokens.weight"}  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = ("model.encoder.*", "encoder.*")

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config := _decoder_only(config))
        self.model = WhisperDecoderWrapper(config)
        self.proj_out = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CausalLMOutputWithCrossAttentions | tuple[Any, ...]:
        """Logits of the next token, (batch, seq, vocab_size); other arguments are `WhisperModel.forward`'s.

        Args:
            encoder_outputs: of a Whisper's encoder of this width: its output, a tuple, or the states (batch, positions, d_model).
            labels: (batch, seq) token ids, each what follows its position: they are not shifted. -100 where none counts.
        """
        states = encoder_outputs if encoder_outputs is None or isinstance(encoder_outputs, Tensor) else encoder_outputs[0]
        outputs = self.model.decoder(
            input_ids,
            attention_mask,
            states,
            past_key_values,
            inputs_embeds,
            position_ids,
            use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.proj_out(outputs.last_hidden_state)
        output = CausalLMOutputWithCrossAttentions(
            loss=None if labels is None else masked_lm_loss(logits, labels),
            logits=logits,
            **{name: value for name, value in outputs.items() if name != "last_hidden_state"},
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()


class WhisperForAudioClassification(WhisperPreTrainedModel):
    """One prediction a recording: the mean of the encoder's states, projected."""

    _input_embeddings_name = "encoder.conv1"
    _keys_to_ignore_on_load_unexpected = ("decoder.*", "model.decoder.*", "proj_out.*")
    new_on_load = ("projector.*", "classifier.*", "layer_weights")

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        layers = config.encoder_layers + 1  # the input of the first one counts
        self.layer_weights = nn.Parameter(torch.full((layers,), 1.0 / layers)) if config.use_weighted_layer_sum else None
        self.projector = nn.Linear(config.d_model, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)
        self.problem_type = config.problem_type
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self and self.layer_weights is not None:
            self.layer_weights.fill_(1.0 / len(self.layer_weights))

    def freeze_encoder(self) -> None:
        """Train nothing in the encoder."""
        self.encoder.requires_grad_(False)

    def forward(
        self,
        input_features: Tensor | None = None,
        encoder_outputs: Any = None,
        labels: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Logits (batch, num_labels).

        Args:
            input_features: (batch, num_mel_bins, 2 * max_source_positions) floats.
            encoder_outputs: what the encoder gave before, with all hidden states where `use_weighted_layer_sum` is set.
            labels: see `transept.nn.losses.sequence_classification_loss`; `config.problem_type` chooses the loss.

        Raises:
            InputError: hidden states are needed, and `encoder_outputs` has none.
        """
        if encoder_outputs is None:
            output_hidden_states = output_hidden_states or (self.layer_weights is not None or None)
            encoder_outputs = self.encoder(
                input_features,
                output_attentions=output_attentions,
                output_hidden_states=output_hidden_states,
                return_dict=True,
            )
        elif not isinstance(encoder_outputs, ModelOutput):
            encoder_outputs = BaseModelOutput(*encoder_outputs[:3])
        hidden_states = encoder_outputs.last_hidden_state
        if self.layer_weights is not None:
            if encoder_outputs.hidden_states is None:
                raise InputError("`use_weighted_layer_sum` needs the `hidden_states` of `encoder_outputs`, which has none.")
            stacked = torch.stack(encoder_outputs.hidden_states, dim=1)  # (batch, layers + 1, positions, d_model)
            hidden_states = (stacked * self.layer_weights.softmax(-1)[:, None, None]).sum(1)
        logits = self.classifier(self.projector(hidden_states).mean(1))
        output = SequenceClassifierOutput(
            loss=None if labels is None else sequence_classification_loss(logits, labels, self.problem_type),
            logits=logits,
            hidden_states=encoder_outputs.hidden_states,
            attentions=encoder_outputs.attentions,
        )
        return output if self.output_options(return_dict=return_dict)[2] else output.to_tuple()
