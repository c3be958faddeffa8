"""Configuration of the GPT-2 family (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners")."""

from __future__ import annotations

from typing import ClassVar

from transept.configuration import Count, PretrainedConfig, Probability, Size, TokenIds
from transept.errors import ConfigError

__all__ = ["GPT2Config"]


class GPT2Config(PretrainedConfig):
    """Shape of a GPT-2 model; the names are the checkpoints'. `hidden_size` and its kin are other names of `n_embd` and its kin.

    `n_inner` is the width of the feed-forward blocks, `4 * n_embd` where it is None. The fields that begin with `summary_` are
    of the multiple-choice head of `GPT2DoubleHeadsModel` alone.
    """

    model_type: ClassVar[str] = "gpt2"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    }

    vocab_size: Size = 50257
    n_positions: Size = 1024
    n_embd: Size = 768
    n_layer: Count = 12
    n_head: Size = 12
    n_inner: Size | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: Probability = 0.1
    embd_pdrop: Probability = 0.1
    attn_pdrop: Probability = 0.1
    layer_norm_epsilon: Probability = 1e-5
    initializer_range: Probability = 0.02
    summary_type: str = "cls_index"
    summary_use_proj: bool = True
    summary_activation: str | None = None
    summary_proj_to_labels: bool = True
    summary_first_dropout: Probability = 0.1
    scale_attn_weights: bool = True
    use_cache: bool = True
    bos_token_id: TokenIds = 50256
    eos_token_id: TokenIds = 50256
    pad_token_id: int | None = None
    scale_attn_by_inverse_layer_idx: bool = False
    """Scores of layer i are also divided by i + 1 (https://crfm.stanford.edu/2021/08/26/mistral.html)."""
    reorder_and_upcast_attn: bool = False
    """Attention is computed in float32 whatever the model's dtype, under autocast too; by every kernel."""
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True

    def validate_config(self) -> None:
        super().validate_config()
        if self.n_embd % self.n_head:
            raise ConfigError(
                f"`n_embd` (`hidden_size`) of `GPT2Config` is {self.n_embd}, no multiple of `n_head` (`num_attention_heads`), "
                f"which is {self.n_head}: each head has an equal part."
            )
