"""Whisper's two halves: the encoder over log-mel spectrograms, and the decoder over tokens."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transept.errors import InputError
from transept.model import PreTrainedModel
from transept.nn import (
    DecoderLayer,
    EncoderLayer,
    LearnedPositions,
    cache_for,
    cross_attention_mask,
    embed_tokens,
    paired_cache_for,
    run_layers,
)
from transept.nn.initialization import initialize_module
from transept.outputs import BaseModelOutputWithPastAndCrossAttentions

from .configuration import WhisperConfig

__all__ = ["WhisperDecoder", "WhisperEncoder", "WhisperPreTrainedModel"]


class SinusoidalPositions(nn.Embedding):
    """Sines and then cosines of each position, at wavelengths from 2π to 10000 * 2π. Checkpoints hold them; nobody trains them."""

    def __init__(self, num_positions: int, embedding_dim: int) -> None:
        super().__init__(num_positions, embedding_dim)
        self.weight.requires_grad_(False)

    def table(self) -> Tensor:
        """(num_embeddings, embedding_dim), float32."""
        half = self.embedding_dim // 2
        frequencies = torch.exp(-math.log(10000) / max(half - 1, 1) * torch.arange(half))
        angles = torch.arange(self.num_embeddings)[:, None] * frequencies
        return torch.cat((angles.sin(), angles.cos()), dim=1)


class WhisperPreTrainedModel(PreTrainedModel):
    """What the Whisper classes share."""

    config_class = WhisperConfig
    config: WhisperConfig
    base_model_prefix = "model"
    main_input_name = "input_features"
    supports_gradient_checkpointing = True
    _no_split_modules = ["EncoderLayer", "DecoderLayer"]  # noqa: RUF012
    _input_embeddings_name = "decoder.embed_tokens"
    _output_embeddings_name = "proj_out"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        initialize_module(module, std=self.config.init_std)
        if isinstance(module, SinusoidalPositions):
            module.weight.copy_(module.table())


def _settings(config: WhisperConfig) -> dict[str, Any]:
    """What all layers share."""
    return {
        "pre_norm": True,
        "activation_name": config.activation_function,
        "key_bias": False,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
    }


class WhisperEncoder(WhisperPreTrainedModel):
    """Two convolutions, of which the second halves the frames, and layers that see all of the sound."""

    _input_embeddings_name = "conv1"

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        width, heads, inner = config.d_model, config.encoder_attention_heads, config.encoder_ffn_dim
        self.num_mel_bins, self.layerdrop = config.num_mel_bins, config.encoder_layerdrop
        self.num_frames = 2 * config.max_source_positions
        self.dropout = nn.Dropout(config.dropout)
        self.conv1 = nn.Conv1d(config.num_mel_bins, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.embed_positions = SinusoidalPositions(config.max_source_positions, width)
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, inner, **_settings(config)) for _ in range(config.encoder_layers)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.post_init()

    def forward(
        self,
        input_features: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions | tuple[Any, ...]:
        """Hidden states of each 20 ms, (batch, max_source_positions, d_model).

        Args:
            input_features: (batch, num_mel_bins, 2 * max_source_positions) floats.
            attention_mask: changes nothing: a Whisper hears silence where a recording was filled up, as it did in training.

        Raises:
            InputError: features of another shape or dtype.
        """
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        self._check(input_features)
        features = input_features.to(self.conv1.weight.dtype)
        features = F.gelu(self.conv2(F.gelu(self.conv1(features))))  # (batch, d_model, max_source_positions)
        hidden_states = self.dropout(features.transpose(1, 2) + self.embed_positions.weight)
        output = run_layers(
            self.layers,
            hidden_states,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            layerdrop=self.layerdrop,
            finish=self.layer_norm,
            mask=self.attention_mask_for(hidden_states, None, kind="bidirectional"),
        )
        return output if return_dict else output.to_tuple()

    def _check(self, input_features: Tensor) -> None:
        if not isinstance(input_features, Tensor):
            raise InputError("Give `input_features`, a tensor: `WhisperFeatureExtractor` makes them of waveforms.")
        shape = tuple(input_features.shape)
        if input_features.dim() != 3 or shape[0] == 0 or not input_features.is_floating_point():
            raise InputError(
                f"`input_features` is {input_features.dtype} of shape {shape}: it must be floats, (batch, {self.num_mel_bins}, "
                f"{self.num_frames}). `WhisperFeatureExtractor` makes them of waveforms."
            )
        if shape[1] != self.num_mel_bins:
            hint = " Frames come last: use `transpose(1, 2)`." if shape[2] == self.num_mel_bins else ""
            raise InputError(
                f"`input_features` has {shape[1]} mel bins, and the model {self.num_mel_bins}: take the feature extractor of this "
                f"checkpoint.{hint}"
            )
        if shape[2] != self.num_frames:
            raise InputError(
                f"`input_features` has {shape[2]} frames, and the model hears {self.num_frames} at once: leave the feature extractor's "
                "`padding='max_length'` and `truncation=True`; `generate` and the pipeline transcribe longer recordings."
            )


class WhisperDecoder(WhisperPreTrainedModel):
    """Embeddings of tokens and positions, and layers that see the tokens before and all of the encoder's states."""

    main_input_name = "input_ids"
    _input_embeddings_name = "embed_tokens"

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        width, heads, inner = config.d_model, config.decoder_attention_heads, config.decoder_ffn_dim
        self.layerdrop, self.has_encoder = config.decoder_layerdrop, config.is_encoder_decoder
        self.dropout = nn.Dropout(config.dropout)
        self.embed_tokens = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.embed_positions = LearnedPositions(config.max_target_positions, width)
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads, inner, layer_idx=index, **_settings(config)) for index in range(config.decoder_layers)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPastAndCrossAttentions | tuple[Any, ...]:
        """Hidden states of every token, (batch, seq, d_model); arguments as in `WhisperModel.forward`."""
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        embedded = embed_tokens(self.embed_tokens, input_ids, inputs_embeds)
        looks = encoder_hidden_states is not None or self.has_encoder
        past_key_values = (paired_cache_for if looks else cache_for)(self, use_cache, past_key_values)
        mask = self.attention_mask_for(embedded, attention_mask, past_key_values)
        cross_mask = None if encoder_hidden_states is None else cross_attention_mask(embedded, encoder_hidden_states, None)
        positions = self.embed_positions(embedded, attention_mask, past_key_values, position_ids)
        output = run_layers(
            self.layers,
            self.dropout(embedded + positions),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            layerdrop=self.layerdrop,
            finish=self.layer_norm,
            past_key_values=past_key_values,
            mask=mask,
            cross_mask=cross_mask,
            encoder_hidden_states=encoder_hidden_states,
        )
        return output if return_dict else output.to_tuple()
