"""Configuration of the DistilBERT family (arXiv 1910.01108)."""

from __future__ import annotations

from typing import ClassVar

from transept.config_rules import check_padding
from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds
from transept.errors import ConfigError

__all__ = ["DistilBertConfig"]


class DistilBertConfig(PretrainedConfig):
    """Shape of a DistilBERT model; the names are the checkpoints'. `hidden_size` and its kin are other names of `dim` and its kin.

    `sinusoidal_pos_embds` says how positions start where no checkpoint brings them. `qa_dropout` is that of the head that answers
    questions, `seq_classif_dropout` that of those that classify sequences and choose among texts.
    """

    model_type: ClassVar[str] = "distilbert"
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "dim",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
    }

    vocab_size: Size = 30522
    max_position_embeddings: Size = 512
    sinusoidal_pos_embds: bool = False
    n_layers: Count = 6
    n_heads: Size = 12
    dim: Size = 768
    hidden_dim: Size = 4 * 768
    dropout: Probability = 0.1
    attention_dropout: Probability = 0.1
    activation: str = "gelu"
    initializer_range: Probability = 0.02
    qa_dropout: Probability = 0.1
    seq_classif_dropout: Probability = 0.2
    pad_token_id: int | None = 0
    eos_token_id: TokenIds = None
    bos_token_id: TokenIds = None
    tie_word_embeddings: bool = True

    def validate_config(self) -> None:
        super().validate_config()
        check_padding(self)
        if self.dim % self.n_heads:
            raise ConfigError(
                f"`dim` (`hidden_size`) of `DistilBertConfig` is {self.dim}, no multiple of `n_heads` (`num_attention_heads`), which "
                f"is {self.n_heads}: each head has an equal part."
            )
