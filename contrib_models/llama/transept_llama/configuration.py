"""Configuration of the Llama family (arXiv 2302.13971, 2307.09288, 2407.21783)."""

from __future__ import annotations

from typing import Any, ClassVar

from transept.config_rules import check_heads, check_padding
from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds

__all__ = ["LlamaConfig"]


class LlamaConfig(PretrainedConfig):
    """Shape of a Llama model; the names are the checkpoints'.

    `head_dim` is `hidden_size // num_attention_heads`, and `num_key_value_heads` is `num_attention_heads`, where they are
    left out; both are settled when the configuration is made. `rope_parameters` also takes its older spelling,
    `rope_theta` and `rope_scaling`.
    """

    model_type: ClassVar[str] = "llama"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: Size = 32000
    hidden_size: Size = 4096
    intermediate_size: Size = 11008
    num_hidden_layers: Count = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = None
    hidden_act: str = "silu"
    max_position_embeddings: Size = 2048
    initializer_range: Probability = 0.02
    rms_norm_eps: Probability = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: TokenIds = 1
    eos_token_id: TokenIds = 2
    pretraining_tp: int | None = 1
    tie_word_embeddings: bool = False
    rope_parameters: dict[str, Any] | None = None
    attention_bias: bool = False
    attention_dropout: Probability | None = 0.0
    mlp_bias: bool = False
    head_dim: Size | None = None

    def fill_defaults(self) -> None:
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads or None
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

    def validate_config(self) -> None:
        # with a head_dim of its own the projections need not be square, and any hidden_size will do
        check_heads(self, share_the_stream="head_dim" not in self.model_fields_set)
        super().validate_config()
        check_padding(self)
