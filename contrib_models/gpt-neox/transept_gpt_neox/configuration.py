"""Configuration of the GPT-NeoX family (arXiv 2204.06745)."""

from __future__ import annotations

from typing import Any, ClassVar

from transept.config_rules import check_heads
from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds

__all__ = ["GPTNeoXConfig"]


class GPTNeoXConfig(PretrainedConfig):
    """Shape of a GPT-NeoX model; the names are the checkpoints'.

    A quarter of each head is rotated unless `rope_parameters` says another `partial_rotary_factor`; the older spellings
    `rotary_pct` and `rotary_emb_base` are taken as well.
    """

    model_type: ClassVar[str] = "gpt_neox"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {"rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta"}
    default_partial_rotary_factor: ClassVar[float | None] = 0.25

    vocab_size: Size = 50432
    hidden_size: Size = 6144
    num_hidden_layers: Count = 44
    num_attention_heads: Size = 64
    intermediate_size: Size = 24576
    hidden_act: str = "gelu"
    attention_dropout: Probability = 0.0
    hidden_dropout: Probability = 0.0
    classifier_dropout: Probability = 0.1
    max_position_embeddings: Size = 2048
    initializer_range: Probability = 0.02
    layer_norm_eps: Probability = 1e-5
    use_cache: bool = True
    bos_token_id: TokenIds = 0
    eos_token_id: TokenIds = 2
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    use_parallel_residual: bool = True
    rope_parameters: dict[str, Any] | None = None
    attention_bias: bool = True
    is_decoder: bool = False

    def validate_config(self) -> None:
        check_heads(self, share_the_stream=True)
        super().validate_config()
