"""Configuration of the Whisper family (https://arxiv.org/abs/2212.04356)."""

from __future__ import annotations

from typing import ClassVar

from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds
from transept.errors import ConfigError

__all__ = ["WhisperConfig"]


class WhisperConfig(PretrainedConfig):
    """Shape of a Whisper; the names are the checkpoints'.

    `max_source_positions` are positions of the encoder: two frames of features, 20 ms each. `mask_…` describe SpecAugment
    (https://arxiv.org/abs/1904.08779), in force while training where `apply_spec_augment` says so. `scale_embedding` is kept for
    the file's sake: no Whisper scales its embeddings, and none of its implementations reads the flag.
    """

    model_type: ClassVar[str] = "whisper"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "num_key_value_heads": "encoder_attention_heads",
        "num_attention_heads": "encoder_attention_heads",
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
    }

    vocab_size: Size = 51865
    num_mel_bins: Size = 80
    encoder_layers: Count = 4
    encoder_attention_heads: Size = 6
    decoder_layers: Count = 4
    decoder_attention_heads: Size = 6
    decoder_ffn_dim: Size = 1536
    encoder_ffn_dim: Size = 1536
    encoder_layerdrop: Probability = 0.0
    decoder_layerdrop: Probability = 0.0
    decoder_start_token_id: int | None = 50257
    use_cache: bool = True
    is_encoder_decoder: bool = True
    activation_function: str = "gelu"
    d_model: Size = 384
    dropout: Probability = 0.0
    attention_dropout: Probability = 0.0
    activation_dropout: Probability = 0.0
    init_std: Probability = 0.02
    scale_embedding: bool = False
    max_source_positions: Size = 1500
    max_target_positions: Size = 448
    pad_token_id: int | None = 50256
    bos_token_id: int | None = 50256
    eos_token_id: TokenIds = 50256
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = [220, 50256]  # noqa: RUF012
    use_weighted_layer_sum: bool = False
    classifier_proj_size: Size = 256
    apply_spec_augment: bool = False
    mask_time_prob: Probability = 0.05
    mask_time_length: Size = 10
    mask_time_min_masks: Count = 2
    mask_feature_prob: Probability = 0.0
    mask_feature_length: Size = 10
    mask_feature_min_masks: Count = 0
    median_filter_width: Size = 7
    tie_word_embeddings: bool = True

    def validate_config(self) -> None:
        for side in ("encoder", "decoder"):
            heads = getattr(self, f"{side}_attention_heads")
            if self.d_model % heads:
                raise ConfigError(
                    f"`d_model` of `WhisperConfig` is {self.d_model}, no multiple of `{side}_attention_heads`, which is {heads}. "
                    "Change one of them."
                )
        if self.d_model % 2 or self.d_model < 4:
            raise ConfigError(
                f"`d_model` of `WhisperConfig` is {self.d_model}: sines and cosines of positions need an even width from 4 up."
            )
        if self.median_filter_width % 2 == 0:
            raise ConfigError(f"`median_filter_width` of `WhisperConfig` is {self.median_filter_width}: it must be odd.")
        super().validate_config()

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PretrainedConfig:
        """This configuration; for the decoder alone, one whose `num_hidden_layers` are the decoder's, which a cache is made by."""
        if decoder and not encoder and self.decoder_layers != self.encoder_layers:
            return self.copy_with(encoder_layers=self.decoder_layers)
        return self
