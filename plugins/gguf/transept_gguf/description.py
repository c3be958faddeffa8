"""A model's configuration as GGUF's metadata: the way back from `configuration`."""

from __future__ import annotations

import math
import struct
from typing import Any

import torch
from torch import Tensor

from transept.configuration import PretrainedConfig

from .architectures import Architecture
from .configuration import FIELDS, config_from
from .files import GGUFModel
from .writer import float32, string, uint32

__all__ = ["describe", "differences", "frequency_factors", "token_ids"]

_WITHOUT_EFFECT = frozenset({
    "initializer_range", "use_cache", "pretraining_tp", "attention_dropout", "use_sliding_window", "max_window_layers",
    "pad_token_id", "bos_token_id", "eos_token_id", "use_bidirectional_attention",
})  # fmt: skip
"""Fields that change nothing in what is computed, or that others settle, or that stand with the tokenizer."""


def describe(config: Any, row: Architecture) -> dict[str, bytes]:
    """The metadata under the architecture's name that says what the configuration says; see `differences`."""
    pairs: dict[str, bytes] = {key: uint32(getattr(config, field)) for key, field in FIELDS.items()}
    head_dim = _head_dim(config)
    pairs["attention.head_count_kv"] = uint32(config.num_key_value_heads)
    pairs["attention.layer_norm_rms_epsilon"] = float32(config.rms_norm_eps)
    pairs["attention.key_length"] = pairs["attention.value_length"] = pairs["rope.dimension_count"] = uint32(head_dim)
    pairs["vocab_size"] = uint32(config.vocab_size)
    for key, field in row.numbers.items():
        value, default = getattr(config, field), row.defaults[field]
        if value is not None:
            pairs[key] = uint32(value) if isinstance(default, int) else float32(value)
    pairs |= _rope(config.rope_parameters or {})
    return {f"{row.name}.{key}": value for key, value in pairs.items()}


def _head_dim(config: Any) -> int:
    return int(config.get("head_dim") or config.hidden_size // config.num_attention_heads)


def _rope(rope: dict[str, Any]) -> dict[str, bytes]:
    pairs = {"rope.freq_base": float32(rope.get("rope_theta", 10000.0))}
    kind = rope.get("rope_type", "default")
    if kind in ("linear", "yarn"):
        pairs |= {"rope.scaling.type": string(kind), "rope.scaling.factor": float32(rope["factor"])}
    if kind == "yarn":
        pairs["rope.scaling.original_context_length"] = uint32(rope["original_max_position_embeddings"])
        for field, key in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
            if rope.get(field) is not None:
                pairs[f"rope.scaling.{key}"] = float32(rope[field])
        if rope.get("attention_factor") is not None:
            own = 0.1 * math.log(rope["factor"]) + 1.0
            pairs["rope.scaling.attn_factor"] = float32(rope["attention_factor"] / own)
    return pairs


def frequency_factors(config: Any) -> Tensor | None:
    """`rope_freqs.weight`, (head_dim / 2,) float32: what divides each rotary frequency, where the scaling is of that kind."""
    rope = config.rope_parameters or {}
    kind = rope.get("rope_type", "default")
    if kind == "longrope" and rope.get("short_factor") == rope.get("long_factor"):
        return torch.tensor(rope["short_factor"], dtype=torch.float32)
    if kind != "llama3":
        return None
    half = _head_dim(config) // 2
    wavelength = 2 * math.pi * rope["rope_theta"] ** (torch.arange(half, dtype=torch.float64) / half)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = ((rope["original_max_position_embeddings"] / wavelength - low) / (high - low)).clamp(0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).to(torch.float32)


def token_ids(config: Any) -> dict[str, int]:
    """Ids that generation begins, ends and fills with, under GGUF's names."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list | tuple) else [config.eos_token_id]
    ids = dict(zip(("eos", "eot", "eom"), ends, strict=False))
    ids |= {"bos": config.bos_token_id, "padding": config.pad_token_id}
    return {f"tokenizer.ggml.{name}_token_id": index for name, index in ids.items() if isinstance(index, int)}


def differences(config: Any, file: GGUFModel) -> list[str]:
    """Fields that change what is computed, and that somebody who opens the file finds otherwise than in `config`."""
    read = type(config).from_dict(config_from(file))
    here, there = config.to_dict(), read.to_dict()
    common = set(PretrainedConfig.model_fields) - {"tie_word_embeddings"}
    names = [name for name in type(config).model_fields if name not in common and name not in _WITHOUT_EFFECT]
    found = [name for name in names if _rounded(here.get(name)) != _rounded(there.get(name))]
    if "rope_parameters" in found and _same_factors(config, read):
        found.remove("rope_parameters")
    return found


def _same_factors(one: Any, other: Any) -> bool:
    """Whether two spellings of rotary scaling divide the same frequencies by the same numbers."""
    here, there = frequency_factors(one), frequency_factors(other)
    same_base = _rounded(one.rope_parameters["rope_theta"]) == _rounded(other.rope_parameters["rope_theta"])
    return same_base and here is not None and there is not None and torch.allclose(here, there, rtol=1e-5)


def _rounded(value: Any) -> Any:
    """Plain data with its numbers as float32 has them."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return struct.unpack("<f", struct.pack("<f", value))[0] if isinstance(value, float) else value
