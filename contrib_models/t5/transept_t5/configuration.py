"""Configuration of the T5 family (https://arxiv.org/abs/1910.10683; v1.1: https://arxiv.org/abs/2002.05202)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from transept.configuration import PretrainedConfig, Probability, Size, TokenIds
from transept.errors import ConfigError

__all__ = ["T5Config"]


class T5Config(PretrainedConfig):
    """Shape of a T5 model; the names are the checkpoints'.

    Fields that follow from others where they are left out, and win where they are given:

    - `num_decoder_layers`: `num_layers`.
    - `dense_act_fn`, `is_gated_act`: from `feed_forward_proj`, an activation's name ("relu" in v1.0) or "gated-" and one
      ("gated-gelu" in v1.1, which is the tanh approximation "gelu_new"). Assigning `feed_forward_proj` sets them anew.
    - `scale_decoder_outputs`: `tie_word_embeddings`. v1.0 ties the output layer to the embeddings and multiplies what it reads
      by `d_model ** -0.5`; v1.1 does neither.
    """

    model_type: ClassVar[str] = "t5"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
        "head_dim": "d_kv",
    }
    decoder_fields: ClassVar[dict[str, str]] = {"num_layers": "num_decoder_layers"}

    vocab_size: Size = 32128
    d_model: Size = 512
    d_kv: Size = 64
    d_ff: Size = 2048
    num_layers: Size = 6
    num_decoder_layers: Size | None = None
    num_heads: Size = 8
    relative_attention_num_buckets: Size = 32
    relative_attention_max_distance: Size = 128
    dropout_rate: Probability = 0.1
    layer_norm_epsilon: Probability = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "relu"
    dense_act_fn: str | None = None
    is_gated_act: bool | None = None
    is_encoder_decoder: bool = True
    use_cache: bool = True
    pad_token_id: int | None = 0
    eos_token_id: TokenIds = 1
    classifier_dropout: Probability = 0.0
    is_decoder: bool = False
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool | None = None

    def fill_defaults(self) -> None:
        if self.num_decoder_layers is None:
            self.num_decoder_layers = self.num_layers
        if self.scale_decoder_outputs is None:
            self.scale_decoder_outputs = self.tie_word_embeddings
        function, gated = _activation_of(self.feed_forward_proj)
        if self.dense_act_fn is None:
            self.dense_act_fn = function
        if self.is_gated_act is None:
            self.is_gated_act = gated

    def validate_config(self) -> None:
        super().validate_config()
        exact = self.relative_attention_num_buckets // 2
        if exact < 2:
            raise ConfigError(
                f"`relative_attention_num_buckets` of `T5Config` is {self.relative_attention_num_buckets}: it must be 4 or more, near "
                "and far keys on both sides."
            )
        if self.relative_attention_max_distance <= exact:
            raise ConfigError(
                f"`relative_attention_max_distance` of `T5Config` is {self.relative_attention_max_distance}: it must be more than half "
                f"of `relative_attention_num_buckets`, {exact}, as the nearer distances have a bucket each."
            )

    def __setattr__(self, name: str, value: Any) -> None:
        following = _activation_of(value) if name == "feed_forward_proj" and isinstance(value, str) else None
        super().__setattr__(name, value)
        if following is not None:
            self.dense_act_fn, self.is_gated_act = following

    @classmethod
    def _from_file(
        cls, values: Mapping[str, Any], overrides: Mapping[str, Any], where: str, *, refuse: bool = True
    ) -> tuple[Self, dict[str, Any]]:
        if "feed_forward_proj" in overrides:  # what the file derived from its own must not win over the one that is asked for
            values = {name: value for name, value in values.items() if name not in ("dense_act_fn", "is_gated_act")}
        return super()._from_file(values, overrides, where, refuse=refuse)


def _activation_of(feed_forward_proj: str) -> tuple[str, bool]:
    """The activation's name, and whether its block is gated."""
    gate, _, function = feed_forward_proj.rpartition("-")
    if gate not in ("", "gated") or not function:
        raise ConfigError(
            f"`feed_forward_proj` of `T5Config` is {feed_forward_proj!r}: it must be an activation's name, such as 'relu', or "
            "'gated-' and one, such as 'gated-gelu'.",
            field="feed_forward_proj",
        )
    return "gelu_new" if feed_forward_proj == "gated-gelu" else function, gate == "gated"
