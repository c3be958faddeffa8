"""A model's configuration, in config.json's terms, from a GGUF file's metadata."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection
from typing import Any

import torch

from transept.errors import CheckpointError, ConfigError, shorten
from transept.files import Location

from .architectures import ARCHITECTURES, Architecture
from .blocks import dequantize
from .files import GGUFModel

__all__ = ["FIELDS", "config_from", "read_config"]

FIELDS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
"""Metadata keys, without the architecture, of fields that every configuration has."""

_NEUTRAL = {
    "expert_count": (0,),
    "attention.causal": (True,),
    "attention.scale": (0.0,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "attn_logit_softcapping": (0.0,),
    "final_logit_softcapping": (0.0,),
    "logit_scale": (0.0, 1.0),
    "embedding_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "use_parallel_residual": (False,),
}
"""Keys that change what is computed, and the values with which they change nothing: others have no place in the config."""

_LLAMA3_ORIGINAL_CONTEXT, _LLAMA3_LOW, _LLAMA3_HIGH = 8192, 1.0, 4.0


def read_config(location: Location) -> dict[str, Any]:
    """The configuration that the GGUF file at a location carries, as config.json would hold it.

    Raises:
        CheckpointError: the architecture is not one that is known here.
        ConfigError: the metadata is incomplete, or asks for something that the architecture's config cannot say.
        CorruptFileError: the file is damaged.
    """
    return config_from(GGUFModel(location))


def config_from(file: GGUFModel) -> dict[str, Any]:
    """The configuration of an open model; see `read_config`."""
    row = _architecture(file)
    source = _Source(file, row.name)
    source.refuse_unknown_effects(row.numbers)
    config: dict[str, Any] = {"architectures": [row.causal_lm], "model_type": row.model_type, **row.defaults}
    for key, field in FIELDS.items():
        config[field] = source.integer(key)
    config["num_key_value_heads"] = source.integer("attention.head_count_kv", config["num_attention_heads"])
    config["head_dim"] = _head_dim(source, config)
    for key, field in row.numbers.items():
        read = source.integer if isinstance(row.defaults[field], int) else source.number
        config[field] = read(key, config[field])
    config |= row.settle(config)
    config["rms_norm_eps"] = source.number("attention.layer_norm_rms_epsilon")
    config["rope_parameters"] = _rope_parameters(source, config)
    config["vocab_size"] = _vocab_size(source)
    # the output projection is written only where it is not the embedding
    config["tie_word_embeddings"] = "output.weight" not in file.tensors
    config |= _biases(file, row)
    config |= _token_ids(file)
    config["dtype"] = _dtype(file)
    return config


def _architecture(file: GGUFModel) -> Architecture:
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str):
        raise ConfigError(f"`{file.path}` does not say its architecture (`general.architecture`): it is not a model.")
    if name not in ARCHITECTURES:
        raise CheckpointError(
            f"`{file.path}` has the architecture `{name}`, which transept-gguf does not know. It knows "
            f"{shorten(ARCHITECTURES, len(ARCHITECTURES))}. Use the model's safetensors instead.",
            architecture=name,
        )
    return ARCHITECTURES[name]


class _Source:
    """The metadata under the architecture's name, with types checked."""

    def __init__(self, file: GGUFModel, prefix: str) -> None:
        self.file = file
        self.prefix = prefix

    def get(self, key: str) -> Any:
        return self.file.metadata.get(f"{self.prefix}.{key}")

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.get(key)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]  # one a layer, all alike
        value = default if value is None else value
        if isinstance(value, list):
            raise self._error(key, "differs between layers, which the config of this architecture cannot say")
        if value is None:
            raise self._error(key, "is missing")
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self._error(key, f"is {value!r}, where a positive integer belongs")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key)
        value = default if value is None else value
        if value is None:
            raise self._error(key, "is missing")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._error(key, f"is {value!r}, where a number belongs")
        return _shortest(float(value))

    def refuse_unknown_effects(self, known: Collection[str]) -> None:
        for key, neutral in _NEUTRAL.items():
            value = self.get(key)
            if value is not None and value not in neutral and key not in known:
                raise self._error(key, f"is {value!r}, which the config of `{self.prefix}` cannot say")

    def _error(self, key: str, what: str) -> ConfigError:
        return ConfigError(f"`{self.file.path}`: its metadata key `{self.prefix}.{key}` {what}.", key=f"{self.prefix}.{key}")


def _shortest(value: float) -> float:
    """The shortest decimal that is the same float32: 1e-05 for 9.999999747378752e-06."""
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", short) == struct.pack("<f", value):
                return short
        except OverflowError:
            break
    return value


def _head_dim(source: _Source, config: dict[str, Any]) -> int:
    share = config["hidden_size"] // config["num_attention_heads"]
    head_dim = source.integer("attention.key_length", source.integer("rope.dimension_count", share))
    rotary = source.integer("rope.dimension_count", head_dim)  # left out (Qwen3, Gemma 2): the whole head, whatever its size
    if rotary != head_dim:
        raise ConfigError(
            f"`{source.file.path}` rotates {rotary} of {head_dim} dimensions of a head, which the config of `{source.prefix}` cannot say."
        )
    if source.integer("attention.value_length", head_dim) != head_dim:
        raise ConfigError(f"`{source.file.path}`: keys and values have different lengths, which `{source.prefix}` cannot have.")
    return head_dim


def _vocab_size(source: _Source) -> int:
    embedding = source.file.tensors.get("token_embd.weight")
    if embedding is not None and len(embedding.shape) == 2:
        return embedding.shape[0]
    tokens = source.file.metadata.length("tokenizer.ggml.tokens")
    return source.integer("vocab_size", tokens)


def _rope_parameters(source: _Source, config: dict[str, Any]) -> dict[str, Any]:
    """RoPE in config.json's terms. llama.cpp's own defaults hold for what the file leaves out."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": source.number("rope.freq_base", 10000.0)}
    kind = source.get("rope.scaling.type")
    factor = source.number("rope.scaling.factor", source.number("rope.scale_linear", 1.0))
    if kind is None:
        kind = "linear" if factor != 1.0 else "none"
    if kind not in ("none", "linear", "yarn"):
        raise ConfigError(f"`{source.file.path}`: the rope scaling `{kind}` is not known for `{source.prefix}`.")
    if "rope_freqs.weight" in source.file.tensors:
        if kind != "none":
            raise ConfigError(f"`{source.file.path}` has both rope factors and `{kind}` rope scaling, which no config can say.")
        return rope | _frequency_factors(source.file, config, rope["rope_theta"])
    if kind == "linear":
        rope |= {"rope_type": "linear", "factor": factor}
    elif kind == "yarn":
        original = source.integer("rope.scaling.original_context_length", config["max_position_embeddings"])
        rope |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
        for key, field in (("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")):
            if source.get(f"rope.scaling.{key}") is not None:
                rope[field] = source.number(f"rope.scaling.{key}")
        scale = source.number("rope.scaling.attn_factor", 1.0)
        if scale != 1.0:  # the file's is on top of YaRN's own
            rope["attention_factor"] = scale * (0.1 * math.log(factor) + 1.0)
    return rope


def _frequency_factors(file: GGUFModel, config: dict[str, Any], theta: float) -> dict[str, Any]:
    """What divides each rotary frequency, from the tensor that stands for Llama 3's scaling.

    Recognised as `llama3` where its formula gives the same factors; else written as `longrope` with these very factors,
    which divides by them at every length.
    """
    info = file.tensors["rope_freqs.weight"]
    half = config["head_dim"] // 2
    if info.shape != (half,):
        raise ConfigError(f"`{file.path}`: `rope_freqs.weight` has the shape {info.shape}, {half} factors are needed.")
    stored = dequantize(info.raw(), info.kind, info.shape, torch.float32).to(torch.float64)
    if not bool((torch.isfinite(stored) & (stored > 0)).all()):
        raise info.source.corrupt("`rope_freqs.weight` holds factors that are not positive numbers", info.start)
    factor = _shortest(float(stored.max()))
    wavelength = 2 * math.pi * theta ** (torch.arange(half, dtype=torch.float64) / half)
    smooth = (_LLAMA3_ORIGINAL_CONTEXT / wavelength - _LLAMA3_LOW) / (_LLAMA3_HIGH - _LLAMA3_LOW)
    formula = 1 / ((1 - smooth.clamp(0, 1)) / factor + smooth.clamp(0, 1))
    if torch.allclose(stored, formula, rtol=1e-4):
        return {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": _LLAMA3_LOW,
            "high_freq_factor": _LLAMA3_HIGH,
            "original_max_position_embeddings": _LLAMA3_ORIGINAL_CONTEXT,
        }
    factors = [_shortest(value) for value in stored.tolist()]
    return {
        "rope_type": "longrope",
        "short_factor": factors,
        "long_factor": factors,
        "attention_factor": 1.0,
        "factor": 1.0,
        "original_max_position_embeddings": config["max_position_embeddings"],
    }


def _biases(file: GGUFModel, row: Architecture) -> dict[str, bool]:
    """The config's bias switches, each true where the first layer has such a bias."""
    switches: dict[str, bool] = {}
    for name, field in row.biases.items():
        switches[field] = switches.get(field, False) or f"{name.format(0)}.bias" in file.tensors
    return switches


def _token_ids(file: GGUFModel) -> dict[str, Any]:
    """Ids of special tokens. Generation ends at every token that ends a turn or message, as in llama.cpp."""
    ids = {name: file.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "padding", "eot", "eom")}
    ends = list(dict.fromkeys(ids[name] for name in ("eos", "eot", "eom") if isinstance(ids[name], int)))
    return {
        "bos_token_id": ids["bos"],
        "eos_token_id": (ends[0] if len(ends) == 1 else ends) if ends else None,
        "pad_token_id": ids["padding"],
    }


def _dtype(file: GGUFModel) -> str:
    """The type that most weights are stored in, where it is a plain one; float32 for packed blocks."""
    sizes: dict[torch.dtype | None, int] = {}
    for info in file.tensors.values():
        sizes[info.kind.dtype] = sizes.get(info.kind.dtype, 0) + info.nbytes
    most = max(sizes, key=lambda dtype: sizes[dtype], default=None)
    return str(most or torch.float32).removeprefix("torch.")
