"""RoBERTa (https://arxiv.org/abs/1907.11692): BERT's encoder, trained longer, with positions that skip padding.

The encoder is `transept.nn.PostNormEncoder`, which can serve as a decoder too; task heads are in `heads`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transept.attention import MaskSpec
from transept.model import PreTrainedModel
from transept.nn import PostNormEncoder, check_length

from .configuration import RobertaConfig

__all__ = ["RobertaModel", "RobertaPreTrainedModel"]


class RobertaPreTrainedModel(PreTrainedModel):
    """What the RoBERTa classes share."""

    config_class = RobertaConfig
    config: RobertaConfig
    base_model_prefix = "roberta"
    supports_gradient_checkpointing = True
    _no_split_modules = ["SegmentEmbeddings", "PostNormLayer"]  # noqa: RUF012
    _input_embeddings_name = "embeddings.word_embeddings"
    # files of older versions carry the numbers 0, 1, 2, …
    _keys_to_ignore_on_load_unexpected = ("*embeddings.position_ids",)
    # an encoder's checkpoint may lack a pooler, and starts decoders that look at another encoder
    new_on_load = ("pooler.*", "*.pooler.*", "*.crossattention.*", "lm_head.*")


class RobertaModel(PostNormEncoder, RobertaPreTrainedModel):
    """The encoder, or decoder, without a head; `add_pooling_layer=False` leaves the pooler out.

    Padding (`pad_token_id` among the ids) has the position of that number, and tokens have the numbers after it, so that a row
    has the positions that it has alone, on whichever side it is padded. Embeddings in place of ids show no padding: all count.
    """

    def __init__(self, config: RobertaConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config, add_pooling_layer)
        assert config.pad_token_id is not None
        self.padding = config.pad_token_id

    def position_padding(self, config: RobertaConfig) -> int | None:
        return config.pad_token_id

    def positions(
        self, words: Tensor, input_ids: Tensor | None, attention_mask: Tensor | MaskSpec | None, past_key_values: Any
    ) -> Tensor:
        if attention_mask is None:  # what is padded may be longer than the table
            check_length(words, past_key_values, self.max_positions - self.padding - 1)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        if input_ids is None:
            counted = torch.arange(past + 1, past + 1 + words.shape[1], device=words.device)
            return counted[None] + self.padding
        before: int | Tensor = past
        if past_key_values is not None and isinstance(attention_mask, Tensor) and attention_mask.dim() == 2:
            before = (
                attention_mask[:, :past].ne(0).sum(-1, keepdim=True).to(words.device)
            )  # padding in the cache has no position
        is_token = input_ids.ne(self.padding).long()  # ONNX sums no bools
        return (is_token.cumsum(-1) + before) * is_token + self.padding  # (batch, seq)
