"""One row for each `general.architecture`: what its metadata and tensors are called on both sides.

Metadata keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; tensor names and the row order of rotary
projections: llama.cpp's converters. A new decoder family is one more row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ARCHITECTURES", "Architecture"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one architecture is written down in GGUF."""

    name: str
    """`general.architecture`."""
    model_type: str
    causal_lm: str
    """The class name for `architectures` in config.json."""
    tensors: dict[str, str]
    """GGUF name to the model's name, `{}` for the layer, without `.weight` or `.bias`."""
    defaults: dict[str, object]
    """Config fields that the file does not state."""
    interleaved: tuple[str, ...] = ()
    """GGUF names of projections whose rows are stored with the two halves of each rotary pair side by side."""
    raised: tuple[str, ...] = ()
    """GGUF names of norms whose gains are stored whole, where the model's parameters are the gains less one."""
    numbers: dict[str, str] = field(default_factory=dict)
    """Metadata keys of its own to config fields; a default stands for a key that is left out."""
    settle: Callable[[dict[str, Any]], dict[str, object]] = lambda config: {}
    """Config fields that the file does not state and that follow from others."""
    biases: dict[str, str] = field(default_factory=dict)
    """GGUF name to the config field that is true where the file has a bias of that name."""


_DECODER = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.{}.attn_norm": "model.layers.{}.input_layernorm",
    "blk.{}.attn_q": "model.layers.{}.self_attn.q_proj",
    "blk.{}.attn_k": "model.layers.{}.self_attn.k_proj",
    "blk.{}.attn_v": "model.layers.{}.self_attn.v_proj",
    "blk.{}.attn_output": "model.layers.{}.self_attn.o_proj",
    "blk.{}.ffn_norm": "model.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_gate": "model.layers.{}.mlp.gate_proj",
    "blk.{}.ffn_up": "model.layers.{}.mlp.up_proj",
    "blk.{}.ffn_down": "model.layers.{}.mlp.down_proj",
}


def _gemma2_scale(config: dict[str, Any]) -> dict[str, object]:
    """llama.cpp knows the largest model, whose scores are scaled otherwise, by its 46 layers."""
    share = config["hidden_size"] // config["num_attention_heads"]
    return {"query_pre_attn_scalar": share if config["num_hidden_layers"] == 46 else config["head_dim"]}


_ROWS = (
    Architecture(
        name="llama",
        model_type="llama",
        causal_lm="LlamaForCausalLM",
        tensors=_DECODER,
        defaults={"hidden_act": "silu"},
        interleaved=("blk.{}.attn_q", "blk.{}.attn_k"),
        biases={
            "blk.{}.attn_q": "attention_bias",
            "blk.{}.attn_k": "attention_bias",
            "blk.{}.attn_v": "attention_bias",
            "blk.{}.attn_output": "attention_bias",
            "blk.{}.ffn_gate": "mlp_bias",
            "blk.{}.ffn_up": "mlp_bias",
            "blk.{}.ffn_down": "mlp_bias",
        },
    ),
    Architecture(
        name="qwen2",
        model_type="qwen2",
        causal_lm="Qwen2ForCausalLM",
        tensors=_DECODER,
        defaults={"hidden_act": "silu"},
    ),
    Architecture(
        name="qwen3",
        model_type="qwen3",
        causal_lm="Qwen3ForCausalLM",
        tensors=_DECODER
        | {
            "blk.{}.attn_q_norm": "model.layers.{}.self_attn.q_norm",
            "blk.{}.attn_k_norm": "model.layers.{}.self_attn.k_norm",
        },
        defaults={"hidden_act": "silu"},
        biases={
            "blk.{}.attn_q": "attention_bias",
            "blk.{}.attn_k": "attention_bias",
            "blk.{}.attn_v": "attention_bias",
            "blk.{}.attn_output": "attention_bias",
        },
    ),
    Architecture(
        name="gemma2",
        model_type="gemma2",
        causal_lm="Gemma2ForCausalLM",
        # there is no output projection but the embedding
        tensors={name: module for name, module in _DECODER.items() if name != "output"}
        | {
            "blk.{}.post_attention_norm": "model.layers.{}.post_attention_layernorm",
            "blk.{}.ffn_norm": "model.layers.{}.pre_feedforward_layernorm",
            "blk.{}.post_ffw_norm": "model.layers.{}.post_feedforward_layernorm",
        },
        defaults={
            "hidden_activation": "gelu_pytorch_tanh",
            "sliding_window": 4096,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        raised=(
            "output_norm",
            *(f"blk.{{}}.{norm}" for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")),
        ),
        numbers={
            "attention.sliding_window": "sliding_window",
            "attn_logit_softcapping": "attn_logit_softcapping",
            "final_logit_softcapping": "final_logit_softcapping",
        },
        settle=_gemma2_scale,
    ),
)

ARCHITECTURES: dict[str, Architecture] = {row.name: row for row in _ROWS}
"""Rows by `general.architecture`."""
