"""BERT (https://arxiv.org/abs/1810.04805): an encoder of post-normed layers over words, positions and segments.

The encoder is `transept.nn.PostNormEncoder`, which can serve as a decoder too; task heads are in `heads`.
"""

from __future__ import annotations

from transept.model import PreTrainedModel
from transept.nn import PostNormEncoder

from .configuration import BertConfig

__all__ = ["BertModel", "BertPreTrainedModel"]


class BertPreTrainedModel(PreTrainedModel):
    """What the BERT classes share."""

    config_class = BertConfig
    config: BertConfig
    base_model_prefix = "bert"
    supports_gradient_checkpointing = True
    _no_split_modules = ["SegmentEmbeddings", "PostNormLayer"]  # noqa: RUF012
    _input_embeddings_name = "embeddings.word_embeddings"
    # files of older versions carry the numbers 0, 1, 2, …
    _keys_to_ignore_on_load_unexpected = ("*embeddings.position_ids",)
    # an encoder's checkpoint may lack a pooler, and starts decoders that look at another encoder
    new_on_load = ("pooler.*", "*.pooler.*", "*.crossattention.*", "cls.*")


class BertModel(PostNormEncoder, BertPreTrainedModel):
    """The encoder, or decoder, without a head; `add_pooling_layer=False` leaves the pooler out."""
