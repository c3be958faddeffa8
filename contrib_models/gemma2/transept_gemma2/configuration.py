"""Configuration of the Gemma 2 family (arXiv 2408.00118)."""

from __future__ import annotations

from typing import Any, ClassVar

from transept.config_rules import check_heads, check_layer_types, check_padding
from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds
from transept.errors import ConfigError

__all__ = ["Gemma2Config"]


class Gemma2Config(PretrainedConfig):
    """Shape of a Gemma 2 model; the names are the checkpoints'.

    `layer_types` says for each layer whether it is of "full_attention" or of "sliding_attention", on the last `sliding_window`
    tokens; left out, they take turns, sliding first. Scores are scaled by `query_pre_attn_scalar ** -0.5`. The two softcaps are
    off where they are None. `use_bidirectional_attention` makes an encoder of it: queries see the tokens after them too.
    """

    model_type: ClassVar[str] = "gemma2"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: Size = 256000
    hidden_size: Size = 2304
    intermediate_size: Size = 9216
    num_hidden_layers: Count = 26
    num_attention_heads: Size = 8
    num_key_value_heads: Size = 4
    head_dim: Size = 256
    hidden_activation: str = "gelu_pytorch_tanh"
    max_position_embeddings: Size = 8192
    initializer_range: Probability = 0.02
    rms_norm_eps: Probability = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = 0
    eos_token_id: TokenIds = 1
    bos_token_id: TokenIds = 2
    tie_word_embeddings: bool = True
    rope_parameters: dict[str, Any] | None = None
    attention_bias: bool = False
    attention_dropout: Probability | None = 0.0
    query_pre_attn_scalar: Size = 256
    sliding_window: Size | None = 4096
    layer_types: list[str] | None = None
    final_logit_softcapping: float | None = 30.0
    attn_logit_softcapping: float | None = 50.0
    use_bidirectional_attention: bool | None = None

    def fill_defaults(self) -> None:
        if self.layer_types is None:
            turns = ("sliding_attention", "full_attention")
            self.layer_types = [turns[layer_idx % 2] for layer_idx in range(self.num_hidden_layers)]

    def validate_config(self) -> None:
        check_heads(self, share_the_stream=True)
        super().validate_config()
        check_padding(self)
        check_layer_types(self)
        for name in ("final_logit_softcapping", "attn_logit_softcapping"):
            if (cap := getattr(self, name)) is not None and cap <= 0:
                raise ConfigError(f"`{name}` of `Gemma2Config` is {cap}: it must be above 0, or None for no cap.", field=name)
