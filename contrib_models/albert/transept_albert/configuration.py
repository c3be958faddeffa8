"""Configuration of the ALBERT family (arXiv 1909.11942)."""

from __future__ import annotations

from typing import ClassVar

from transept.config_rules import check_absolute_positions, check_heads, check_padding
from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds
from transept.errors import ConfigError

__all__ = ["AlbertConfig"]


class AlbertConfig(PretrainedConfig):
    """Shape of an ALBERT model; the names are the checkpoints'.

    Words have `embedding_size` numbers, which one layer widens to `hidden_size`. The `num_hidden_layers` passes are made by
    `num_hidden_groups` groups of `inner_group_num` layers each; passes in a row share a group. `classifier_dropout_prob` is that
    of the task heads.
    """

    model_type: ClassVar[str] = "albert"

    vocab_size: Size = 30000
    embedding_size: Size = 128
    hidden_size: Size = 4096
    num_hidden_layers: Count = 12
    num_hidden_groups: Size = 1
    num_attention_heads: Size = 64
    intermediate_size: Size = 16384
    inner_group_num: Size = 1
    hidden_act: str = "gelu_new"
    hidden_dropout_prob: Probability = 0.0
    attention_probs_dropout_prob: Probability = 0.0
    max_position_embeddings: Size = 512
    type_vocab_size: Size = 2
    initializer_range: Probability = 0.02
    layer_norm_eps: Probability = 1e-12
    classifier_dropout_prob: Probability = 0.1
    pad_token_id: int | None = 0
    bos_token_id: TokenIds = 2
    eos_token_id: TokenIds = 3
    tie_word_embeddings: bool = True

    def validate_config(self) -> None:
        super().validate_config()
        check_heads(self, share_the_stream=True)
        check_padding(self)
        check_absolute_positions(self)
        if 0 < self.num_hidden_layers < self.num_hidden_groups:
            raise ConfigError(
                f"`num_hidden_groups` of `AlbertConfig` is {self.num_hidden_groups}, and there are {self.num_hidden_layers} passes "
                "(`num_hidden_layers`): a group would never be used."
            )
