"""Configuration of the BERT family (arXiv 1810.04805)."""

from __future__ import annotations

from typing import ClassVar

from transept.config_rules import check_absolute_positions, check_cross_attention, check_heads, check_padding
from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds

__all__ = ["BertConfig"]


class BertConfig(PretrainedConfig):
    """Shape of a BERT model; the names are the checkpoints'.

    `is_decoder` makes attention causal and lets the model keep a cache; a decoder may have `add_cross_attention`.
    `classifier_dropout` is that of the task heads, `hidden_dropout_prob` where it is None.
    """

    model_type: ClassVar[str] = "bert"

    vocab_size: Size = 30522
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
    pad_token_id: int | None = 0
    use_cache: bool = True
    classifier_dropout: Probability | None = None
    is_decoder: bool = False
    add_cross_attention: bool = False
    bos_token_id: TokenIds = None
    eos_token_id: TokenIds = None
    tie_word_embeddings: bool = True

    def validate_config(self) -> None:
        super().validate_config()
        check_heads(self, share_the_stream=True)
        check_padding(self)
        check_cross_attention(self)
        check_absolute_positions(self)
