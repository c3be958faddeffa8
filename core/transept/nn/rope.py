"""Rotary position embeddings (https://arxiv.org/abs/2104.09864), and the ways to stretch them over longer contexts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import ConfigError, did_you_mean

__all__ = ["RotaryEmbedding", "apply_rotary"]


@dataclass(frozen=True)
class _Rope:
    """What inverse frequencies are computed from."""

    parameters: Mapping[str, Any]
    head_dim: int
    max_position_embeddings: int

    @property
    def theta(self) -> float:
        return float(self.parameters.get("rope_theta") or 10000.0)

    @property
    def rotary_dim(self) -> int:
        """How many of a head's dimensions are rotated."""
        return int(self.head_dim * (self.parameters.get("partial_rotary_factor") or 1.0))

    @property
    def original_length(self) -> int:
        """The context length of pre-training."""
        return int(self.parameters.get("original_max_position_embeddings") or self.max_position_embeddings)

    @property
    def factor(self) -> float:
        """How far the context is stretched; where it isn't said, the ratio of the two lengths."""
        factor = self.parameters.get("factor")
        return float(factor) if factor is not None else self.max_position_embeddings / self.original_length

    def exponents(self, device: torch.device | None) -> Tensor:
        dim = self.rotary_dim
        return torch.arange(0, dim, 2, dtype=torch.int64, device=device).to(torch.float32) / dim

    def unscaled(self, device: torch.device | None) -> Tensor:
        return 1.0 / (self.theta ** self.exponents(device))


def _default(rope: _Rope, device: torch.device | None) -> tuple[Tensor, float]:
    return rope.unscaled(device), 1.0


def _linear(rope: _Rope, device: torch.device | None) -> tuple[Tensor, float]:
    """Positions divided by the factor (https://arxiv.org/abs/2306.15595)."""
    return rope.unscaled(device) / float(rope.parameters["factor"]), 1.0


def _proportional(rope: _Rope, device: torch.device | None) -> tuple[Tensor, float]:
    """The first part of a full-width set of frequencies; the rest are zero, and rotate nothing."""
    proportion = rope.parameters.get("partial_rotary_factor") or 1.0
    turning = int(proportion * rope.head_dim // 2)
    exponents = torch.arange(0, 2 * turning, 2, dtype=torch.int64, device=device).to(torch.float32) / rope.head_dim
    still = torch.zeros(rope.head_dim // 2 - turning, dtype=torch.float32, device=device)
    return torch.cat((1.0 / (rope.theta**exponents), still)) / (rope.parameters.get("factor") or 1.0), 1.0


def _llama3(rope: _Rope, device: torch.device | None) -> tuple[Tensor, float]:
    """Long wavelengths stretched, short ones kept, those between blended (Llama 3.1)."""
    low, high = rope.parameters["low_freq_factor"], rope.parameters["high_freq_factor"]
    inv_freq, factor, length = rope.unscaled(device), rope.parameters["factor"], rope.original_length
    wavelength = 2 * math.pi / inv_freq
    blend = ((length / wavelength - low) / (high - low)).clamp(0.0, 1.0)
    scaled = (1 - blend) * inv_freq / factor + blend * inv_freq
    scaled = torch.where(wavelength > length / low, inv_freq / factor, scaled)
    return torch.where(wavelength < length / high, inv_freq, scaled), 1.0


def _yarn(rope: _Rope, device: torch.device | None) -> tuple[Tensor, float]:
    """YaRN (https://arxiv.org/abs/2309.00071): a ramp from interpolated to kept frequencies, and a softer softmax."""
    parameters, factor, dim = rope.parameters, rope.factor, rope.rotary_dim

    def dimension(rotations: float) -> float:
        """The dimension that turns this often within the original context."""
        return (dim * math.log(rope.original_length / (rotations * 2 * math.pi))) / (2 * math.log(rope.theta))

    low, high = dimension(parameters.get("beta_fast") or 32), dimension(parameters.get("beta_slow") or 1)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    width = (high - low) if high != low else 0.001
    ramp = ((torch.arange(dim // 2, dtype=torch.float32, device=device) - low) / width).clamp(0, 1)
    turns = rope.theta ** rope.exponents(device)
    kept = 1 - ramp
    return 1.0 / (factor * turns) * (1 - kept) + 1.0 / turns * kept, _yarn_attention_factor(parameters, factor)


def _yarn_attention_factor(parameters: Mapping[str, Any], factor: float) -> float:
    def magnitude(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    if parameters.get("attention_factor") is not None:
        return float(parameters["attention_factor"])
    mscale, mscale_all_dim = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if mscale and mscale_all_dim:
        return magnitude(mscale) / magnitude(mscale_all_dim)
    return magnitude(1.0)


def _longrope(rope: _Rope, device: torch.device | None, *, long: bool = False) -> tuple[Tensor, float]:
    """LongRoPE (https://arxiv.org/abs/2402.13753): searched factors, one set up to the original length, one beyond."""
    name = "long_factor" if long else "short_factor"
    factors = torch.tensor(rope.parameters[name], dtype=torch.float32, device=device)
    exponents = rope.exponents(device)
    if factors.shape != exponents.shape:
        raise ConfigError(f"`{name}` of `rope_parameters` has {factors.numel()} numbers; this head needs {exponents.numel()}.")
    attention_factor = rope.parameters.get("attention_factor")
    if attention_factor is None:
        stretched = rope.factor > 1.0
        attention_factor = math.sqrt(1 + math.log(rope.factor) / math.log(rope.original_length)) if stretched else 1.0
    return 1.0 / (factors * rope.theta**exponents), float(attention_factor)


_ROPE_TYPES: dict[str, Callable[[_Rope, torch.device | None], tuple[Tensor, float]]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _default,
    "yarn": _yarn,
    "longrope": _longrope,
    "llama3": _llama3,
    "proportional": _proportional,
}


class RotaryEmbedding(nn.Module):
    """Cosines and sines of the rotation at each position.

    Args:
        parameters: a configuration's `rope_parameters`: `rope_type` (default, linear, dynamic, yarn, longrope, llama3 or
            proportional), `rope_theta`, and what that type needs.
        head_dim: size of a head; `partial_rotary_factor` of it is rotated.
        max_position_embeddings: the context length of the model.

    Raises:
        ConfigError: an unknown type, or a parameter that the type needs is missing.

    Nothing is remembered from call to call: dynamic and longrope look at the highest position of this call. The buffers are
    float32 whatever the model's dtype is, since a rounded frequency is a wrong angle at far positions; they are computed anew
    whenever the module moves, so they are right after `to_empty` as well.
    """

    inv_freq: Tensor  # (rotary_dim / 2,)
    long_inv_freq: Tensor  # longrope alone

    def __init__(self, parameters: Mapping[str, Any], *, head_dim: int, max_position_embeddings: int) -> None:
        super().__init__()
        self.rope_type = str(parameters.get("rope_type") or "default")
        if self.rope_type not in _ROPE_TYPES:
            raise ConfigError(
                f"`rope_type` is `{self.rope_type}`.{did_you_mean(self.rope_type, _ROPE_TYPES)} Known are {', '.join(_ROPE_TYPES)}."
            )
        self._rope = _Rope(dict(parameters), head_dim, max_position_embeddings)
        self.register_buffer("inv_freq", None, persistent=False)
        if self.rope_type == "longrope":
            self.register_buffer("long_inv_freq", None, persistent=False)
        self.reset_buffers()

    def reset_buffers(self, device: torch.device | str | None = None) -> None:
        """Compute the buffers anew, on this device; None: the default one, but never without data.

        The arithmetic is done on the CPU: it is a few numbers, and on `meta` it would make torch import its compiler.
        """
        wanted = torch.get_default_device() if device is None else torch.device(device)
        target = torch.device("cpu") if device is None and wanted.type == "meta" else wanted
        device = torch.device("cpu")
        try:
            self.inv_freq, self.attention_factor = _ROPE_TYPES[self.rope_type](self._rope, device)
            if self.rope_type == "longrope":
                self.long_inv_freq, _ = _longrope(self._rope, device, long=True)
            elif self.rope_type == "dynamic":
                self._rope.parameters["factor"]
        except KeyError as missing:
            raise ConfigError(f"`rope_parameters` of type `{self.rope_type}` lacks {missing}: add it.") from None
        for name, buffer in self.named_buffers(recurse=False):
            setattr(self, name, buffer.to(target))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.reset_buffers(self.inv_freq.device)
        return self

    def frequencies(self, position_ids: Tensor) -> Tensor:
        """Inverse frequencies for a call with these positions: (rotary_dim / 2,) float32."""
        if self.rope_type == "longrope":
            return torch.where(position_ids.max() >= self._rope.original_length, self.long_inv_freq, self.inv_freq)
        if self.rope_type == "dynamic":
            return self._stretched(position_ids.max() + 1)
        return self.inv_freq

    def _stretched(self, length: Tensor) -> Tensor:
        """NTK-aware frequencies: a base that grows with the length beyond the model's."""
        rope, dim = self._rope, self._rope.rotary_dim
        factor, most = rope.parameters["factor"], rope.max_position_embeddings
        base = rope.theta * ((factor * length.clamp(min=most) / most) - (factor - 1)) ** (dim / (dim - 2))
        return torch.where(length > most, 1.0 / (base ** rope.exponents(length.device)), self.inv_freq)

    @torch.no_grad()
    def forward(self, hidden_states: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for `apply_rotary`.

        Args:
            hidden_states: gives the dtype.
            position_ids: (batch or 1, seq), integers.

        Returns:
            Two tensors (batch or 1, 1, seq, rotary_dim). The first half of the sines is negative: the sign of the rotation is
            in them, so that applying them is one product less a layer.
        """
        angles = position_ids[:, None, :, None].to(torch.float32) * self.frequencies(position_ids)
        cos, sin = angles.cos(), angles.sin()
        if self.attention_factor != 1.0:
            cos, sin = cos * self.attention_factor, sin * self.attention_factor
        dtype = hidden_states.dtype
        return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)

    def extra_repr(self) -> str:
        return f"{self.rope_type}, dim={2 * self.inv_freq.shape[0]}, theta={self._rope.theta:g}"


def apply_rotary(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys: (batch, heads, seq, head_dim) each, cos and sin as `RotaryEmbedding` gives them.

    Where the rotation is narrower than the head, the dimensions after it pass through.
    """
    return _rotate(query, cos, sin), _rotate(key, cos, sin)


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    width = cos.shape[-1]
    if width != states.shape[-1]:
        turning, still = states[..., :width], states[..., width:]
        return torch.cat((_rotate(turning, cos, sin), still), dim=-1)
    return torch.addcmul(states * cos, states.roll(width // 2, dims=-1), sin)
