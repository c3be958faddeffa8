"""Configuration of the RoBERTa family (arXiv 1907.11692)."""

from __future__ import annotations

from typing import ClassVar

from transept.config_rules import check_absolute_positions, check_cross_attention, check_heads, check_padding
from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds
from transept.errors import ConfigError

__all__ = ["RobertaConfig"]


class RobertaConfig(PretrainedConfig):
    """Shape of a RoBERTa model; the names are the checkpoints'.

    Positions are counted from `pad_token_id + 1`, so a table of `max_position_embeddings` rows has room for
    `max_position_embeddings - pad_token_id - 1` tokens. `is_decoder` makes attention causal and lets the model keep a cache; a
    decoder may have `add_cross_attention`. `classifier_dropout` is that of the heads that classify sequences and tokens,
    `hidden_dropout_prob` where it is None.
    """

    model_type: ClassVar[str] = "roberta"

    vocab_size: Size = 50265
    hidden_size: Size = 768
    num_hidden_layers: Count = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: Probability = 0.1
    attention_probs_dropout_prob: Probability = 0.1
    max_position_embeddings: Size = 512
    type_vocab_size: Size = 2
    initializer_range: Probability = 0.02
    layer_norm_eps: Probability = 1e-12
    pad_token_id: int | None = 1
    bos_token_id: TokenIds = 0
    eos_token_id: TokenIds = 2
    use_cache: bool = True
    classifier_dropout: Probability | None = None
    is_decoder: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True

    def validate_config(self) -> None:
        super().validate_config()
        check_heads(self, share_the_stream=True)
        check_padding(self)
        check_cross_attention(self)
        check_absolute_positions(self)
        if self.pad_token_id is None or self.pad_token_id < 0:
            raise ConfigError(
                f"`pad_token_id` of `RobertaConfig` is {self.pad_token_id}: positions are counted from the number after it, so give "
                "the id of the padding token."
            )
        if self.max_position_embeddings < self.pad_token_id + 2:
            raise ConfigError(
                f"`max_position_embeddings` is {self.max_position_embeddings}, and positions are counted from `pad_token_id + 1`, "
                f"which is {self.pad_token_id + 1}: the table has no room for a token."
            )
