"""Configuration of the Mistral family (arXiv 2310.06825)."""

from __future__ import annotations

from typing import Any, ClassVar

from transept.config_rules import check_heads, check_layer_types, check_padding
from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds

__all__ = ["MistralConfig"]


class MistralConfig(PretrainedConfig):
    """Shape of a Mistral model; the names are the checkpoints'.

    `head_dim` is `hidden_size // num_attention_heads`, and `num_key_value_heads` is `num_attention_heads`, where they are None.
    Every layer sees the last `sliding_window` tokens; None: all. A file may say `layer_types` too, which models heed.
    """

    model_type: ClassVar[str] = "mistral"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: Size = 32000
    hidden_size: Size = 4096
    intermediate_size: Size = 14336
    num_hidden_layers: Count = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = 8
    head_dim: Size | None = None
    hidden_act: str = "silu"
    max_position_embeddings: Size = 131072
    initializer_range: Probability = 0.02
    rms_norm_eps: Probability = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: TokenIds = 1
    eos_token_id: TokenIds = 2
    tie_word_embeddings: bool = False
    rope_parameters: dict[str, Any] | None = None
    sliding_window: Size | None = 4096
    attention_dropout: Probability = 0.0

    def fill_defaults(self) -> None:
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads or None
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

    def validate_config(self) -> None:
        check_heads(self, share_the_stream="head_dim" not in self.model_fields_set)
        super().validate_config()
        check_padding(self)
        if self.get("layer_types") is not None:
            check_layer_types(self)
