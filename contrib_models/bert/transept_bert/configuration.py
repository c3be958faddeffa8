"""Configuration of the BERT family (arXiv 1810.04805)."""

from __future__ import annotations

from typing import ClassVar

from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds
from transept.errors import ConfigError

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
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"`hidden_size` of `BertConfig` is {self.hidden_size}, no multiple of `num_attention_heads`, which is "
                f"{self.num_attention_heads}. Change one of them."
            )
        if self.add_cross_attention and not self.is_decoder:
            raise ConfigError("`add_cross_attention` of `BertConfig` needs a decoder: set `is_decoder=True` too.")
        if self.pad_token_id is not None and self.pad_token_id >= self.vocab_size:
            raise ConfigError(f"`pad_token_id` is {self.pad_token_id}, and the vocabulary ends at {self.vocab_size - 1}.")
        # a key of older files; relative positions have weights of their own, which would be left out
        if self.get("position_embedding_type", "absolute") not in ("absolute", None):
            raise ConfigError(
                f"`position_embedding_type` is `{self.get('position_embedding_type')}`, and this BERT has absolute positions only."
            )
        super().validate_config()
