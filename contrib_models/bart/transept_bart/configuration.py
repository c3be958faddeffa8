"""Configuration of the BART family (https://arxiv.org/abs/1910.13461)."""

from __future__ import annotations

from typing import Any, ClassVar

from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds
from transept.errors import ConfigError

__all__ = ["BartConfig"]

# keys of older files that say where norms and positions are, each with what it may say, first what it means to leave it out
_OLDER_KEYS = {
    "normalize_before": (False, True),
    "normalize_embedding": (True, False),
    "add_final_layer_norm": (False, True),
    "static_position_embeddings": (False,),
    "extra_pos_embeddings": (2,),
}


class BartConfig(PretrainedConfig):
    """Shape of a BART model; the names are the checkpoints'. `hidden_size`, `num_attention_heads` and `num_hidden_layers` are other
    names of `d_model` and the encoder's own.

    - `scale_embedding`: token embeddings are multiplied by `d_model ** 0.5`.
    - `encoder_layerdrop`, `decoder_layerdrop`: probability of skipping a layer while training.
    - `forced_eos_token_id`: generation ends with it at its full length.

    Older files have keys that are read where they stand: `normalize_before` (norms before attention and feed-forward, not after
    the sums), `normalize_embedding` (a norm of the embeddings; true where it is left out), `add_final_layer_norm` (one after the
    last layer). Three labels are the default, those of natural language inference.
    """

    model_type: ClassVar[str] = "bart"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
    }
    decoder_fields: ClassVar[dict[str, str]] = {
        "encoder_layers": "decoder_layers",
        "encoder_attention_heads": "decoder_attention_heads",
        "encoder_ffn_dim": "decoder_ffn_dim",
    }

    vocab_size: Size = 50265
    max_position_embeddings: Size = 1024
    encoder_layers: Count = 12
    encoder_ffn_dim: Size = 4096
    encoder_attention_heads: Size = 16
    decoder_layers: Count = 12
    decoder_ffn_dim: Size = 4096
    decoder_attention_heads: Size = 16
    encoder_layerdrop: Probability = 0.0
    decoder_layerdrop: Probability = 0.0
    activation_function: str = "gelu"
    d_model: Size = 1024
    dropout: Probability = 0.1
    attention_dropout: Probability = 0.0
    activation_dropout: Probability = 0.0
    init_std: Probability = 0.02
    classifier_dropout: Probability = 0.0
    scale_embedding: bool = False
    use_cache: bool = True
    pad_token_id: int | None = 1
    bos_token_id: TokenIds = 0
    eos_token_id: TokenIds = 2
    is_encoder_decoder: bool = True
    decoder_start_token_id: TokenIds = 2
    forced_eos_token_id: TokenIds = 2
    is_decoder: bool = False
    tie_word_embeddings: bool = True

    def _fill(self, values: dict[str, Any], where: str, **how: Any) -> None:
        if all(values.get(name) is None for name in ("id2label", "label2id", "num_labels")):
            values["num_labels"] = 3
        super()._fill(values, where, **how)

    def validate_config(self) -> None:
        super().validate_config()
        for name in ("encoder_attention_heads", "decoder_attention_heads"):
            if self.d_model % getattr(self, name):
                raise ConfigError(
                    f"`d_model` of `BartConfig` is {self.d_model}, no multiple of `{name}`, which is {getattr(self, name)}: each head "
                    "has an equal part.",
                    field=name,
                )
        for name, known in _OLDER_KEYS.items():
            if self.older_key(name) not in known:
                only = " or ".join(map(repr, known))
                raise ConfigError(f"`{name}` of `BartConfig` is {self.get(name)!r}, and this BART has {only}.", field=name)

    def older_key(self, name: str) -> Any:
        """What a key of older files says; None and no key mean the same."""
        value = self.get(name)
        return _OLDER_KEYS[name][0] if value is None else value
