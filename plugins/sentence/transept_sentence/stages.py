"""What stands behind the transformer in a sentence encoder: pooling, a dense layer, normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transept.errors import ConfigError, did_you_mean, shorten

__all__ = ["Dense", "Normalize", "Pooling"]


class Pooling(nn.Module):
    """One vector a sentence out of one a token (Reimers and Gurevych, Sentence-BERT, arXiv:1908.10084, section 3).

    Args:
        dimension: width of a token's vector.
        modes: of `cls` (the first token), `max`, `mean`, `mean_sqrt_len` (the sum over the square root of the number of
            tokens), `weightedmean` (a token's weight is its position, from 1; SGPT, arXiv:2202.08904) and `lasttoken`. Several
            are put side by side in that order.
        include_prompt: whether the tokens of a prompt count.

    Raises:
        ConfigError: an unknown mode, or none.
    """

    modes_known: ClassVar[tuple[str, ...]] = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")
    _keys: ClassVar[dict[str, str]] = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
        "pooling_mode_weightedmean_tokens": "weightedmean",
        "pooling_mode_lasttoken": "lasttoken",
    }

    def __init__(self, dimension: int, modes: tuple[str, ...] = ("mean",), include_prompt: bool = True) -> None:
        super().__init__()
        for mode in modes:
            if mode not in self.modes_known:
                raise ConfigError(
                    f"`{mode}` is no pooling mode.{did_you_mean(mode, self.modes_known)} Modes: {shorten(self.modes_known, 6)}.",
                    field="modes",
                )
        if not modes:
            raise ConfigError("A pooling needs a mode: `mean` is the usual one.", field="modes")
        self.modes = tuple(mode for mode in self.modes_known if mode in modes)
        self.dimension, self.include_prompt = dimension, include_prompt

    @property
    def out_features(self) -> int:
        return self.dimension * len(self.modes)

    def forward(self, hidden_states: Tensor, mask: Tensor) -> Tensor:
        """Pool.

        Args:
            hidden_states: (batch, seq, dimension).
            mask: (batch, seq), 1 for tokens that count.

        Returns:
            (batch, dimension × modes); zeros for a row without tokens.
        """
        kept = mask.to(hidden_states.dtype)[..., None]  # (batch, seq, 1)
        return torch.cat([getattr(self, f"_{mode}")(hidden_states, kept) for mode in self.modes], dim=-1)

    def _cls(self, hidden_states: Tensor, kept: Tensor) -> Tensor:
        return self._at(hidden_states, kept, kept[..., 0].argmax(-1))

    def _lasttoken(self, hidden_states: Tensor, kept: Tensor) -> Tensor:
        return self._at(hidden_states, kept, kept.shape[1] - 1 - kept[..., 0].flip(-1).argmax(-1))

    def _at(self, hidden_states: Tensor, kept: Tensor, place: Tensor) -> Tensor:
        rows = torch.arange(place.shape[0], device=place.device)
        return hidden_states[rows, place] * kept[rows, place]

    def _max(self, hidden_states: Tensor, kept: Tensor) -> Tensor:
        lowest = hidden_states.masked_fill(kept == 0, torch.finfo(hidden_states.dtype).min)
        return lowest.max(dim=1).values * (kept.sum(1) > 0)

    def _mean(self, hidden_states: Tensor, kept: Tensor) -> Tensor:
        return (hidden_states * kept).sum(1) / kept.sum(1).clamp(min=1)

    def _mean_sqrt_len(self, hidden_states: Tensor, kept: Tensor) -> Tensor:
        return (hidden_states * kept).sum(1) / kept.sum(1).clamp(min=1).sqrt()

    def _weightedmean(self, hidden_states: Tensor, kept: Tensor) -> Tensor:
        weights = kept.cumsum(1) * kept  # positions among the tokens that count, so that padding on the left changes nothing
        return (hidden_states * weights).sum(1) / weights.sum(1).clamp(min=1)

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Pooling:
        """From a checkpoint's `1_Pooling/config.json`, in its older spelling (a flag a mode) or its newer (`pooling_mode`).

        Raises:
            ConfigError: no dimension, or a mode that is not known.
        """
        dimension = values.get("word_embedding_dimension", values.get("embedding_dimension"))
        if not isinstance(dimension, int) or isinstance(dimension, bool) or dimension < 1:
            raise ConfigError(f"The pooling's config has no `word_embedding_dimension`, or not a number: {dimension!r}.")
        named = values.get("pooling_mode")
        if named is not None:
            modes = tuple(named) if isinstance(named, list) else tuple(str(named).split("+"))
        else:
            for key, value in values.items():
                if key.startswith("pooling_mode_") and key not in cls._keys and value:
                    raise ConfigError(
                        f"The pooling's config asks for `{key}`, which is not known.{did_you_mean(key, cls._keys)}", field=key
                    )
            modes = tuple(mode for key, mode in cls._keys.items() if values.get(key))
        return cls(dimension, modes, bool(values.get("include_prompt", True)))

    def to_config(self) -> dict[str, Any]:
        """The same as `config.json` has it."""
        flags = {key: mode in self.modes for key, mode in self._keys.items()}
        return {"word_embedding_dimension": self.dimension, **flags, "include_prompt": self.include_prompt}


class Dense(nn.Module):
    """A linear layer with an activation over the sentence's vector.

    Raises:
        ConfigError: an activation that is not one of `activations`.
    """

    activations: ClassVar[dict[str, type[nn.Module]]] = {
        kind.__name__: kind
        for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.Mish, nn.Softplus)
    }
    """By class name. A checkpoint's string chooses among these and imports nothing."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, activation: str = "Tanh") -> None:
        super().__init__()
        if activation not in self.activations:
            raise ConfigError(
                f"A dense layer asks for the activation `{activation}`. Known: {shorten(self.activations, 12)}.",
                field="activation_function",
            )
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation = self.activations[activation]()

    @property
    def out_features(self) -> int:
        return self.linear.out_features

    def forward(self, embeddings: Tensor) -> Tensor:
        """(batch, in_features) to (batch, out_features)."""
        return self.activation(self.linear(embeddings))

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Dense:
        """From a checkpoint's `2_Dense/config.json`; the weights are filled in afterwards.

        Raises:
            ConfigError: sizes that are no numbers, an unknown activation, or a layer over tokens instead of the sentence.
        """
        sizes = [values.get(name) for name in ("in_features", "out_features")]
        if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
            raise ConfigError(f"A dense layer's config has `in_features` and `out_features` {sizes}: numbers are needed.")
        for key in ("module_input_name", "module_output_name"):
            if values.get(key, "sentence_embedding") not in (None, "sentence_embedding"):
                raise ConfigError(
                    f"A dense layer has `{key}={values[key]!r}`; only `sentence_embedding` is supported.", field=key
                )
        named = str(values.get("activation_function") or "torch.nn.modules.activation.Tanh")
        prefix, _, activation = named.rpartition(".")
        if prefix and prefix.partition(".")[0] != "torch":
            raise ConfigError(f"A dense layer names the activation `{named}`, which is not one of torch's: it is not imported.")
        return cls(int(sizes[0]), int(sizes[1]), bool(values.get("bias", True)), activation)  # type: ignore[arg-type]

    def to_config(self) -> dict[str, Any]:
        kind = type(self.activation)
        return {
            "in_features": self.linear.in_features,
            "out_features": self.linear.out_features,
            "bias": self.linear.bias is not None,
            "activation_function": f"{kind.__module__}.{kind.__name__}",
        }


class Normalize(nn.Module):
    """Each sentence's vector scaled to Euclidean length 1."""

    def forward(self, embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings, p=2, dim=-1)

    def to_config(self) -> dict[str, Any]:
        return {}
