"""Configuration of the Qwen3 family (arXiv 2505.09388)."""

from __future__ import annotations

from typing import Any, ClassVar

from transept.config_rules import check_heads, check_layer_types, check_padding, sliding_from
from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds

__all__ = ["Qwen3Config"]


class Qwen3Config(PretrainedConfig):
    """Shape of a Qwen3 model; the names are the checkpoints'.

    `num_key_value_heads` is `num_attention_heads` where it is None. `layer_types` says for each layer whether it is of
    "full_attention" or of "sliding_attention", on the last `sliding_window` tokens; left out, the layers from `max_window_layers`
    on slide, if `use_sliding_window`.
    """

    model_type: ClassVar[str] = "qwen3"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: Size = 151936
    hidden_size: Size = 4096
    intermediate_size: Size = 22016
    num_hidden_layers: Count = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = 32
    head_dim: Size = 128
    hidden_act: str = "silu"
    max_position_embeddings: Size = 32768
    initializer_range: Probability = 0.02
    rms_norm_eps: Probability = 1e-6
    use_cache: bool = True
    tie_word_embeddings: bool = False
    rope_parameters: dict[str, Any] | None = None
    attention_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: Size | None = 4096
    max_window_layers: Count = 28
    layer_types: list[str] | None = None
    attention_dropout: Probability = 0.0
    pad_token_id: int | None = None
    bos_token_id: TokenIds = None
    eos_token_id: TokenIds = None

    def fill_defaults(self) -> None:
        if not self.use_sliding_window:
            self.sliding_window = None
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.layer_types is None:
            self.layer_types = sliding_from(self.max_window_layers, self)

    def validate_config(self) -> None:
        check_heads(self, share_the_stream=False)
        super().validate_config()
        check_padding(self)
        check_layer_types(self)
