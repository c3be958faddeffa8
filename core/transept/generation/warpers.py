"""Warpers: processors that shape the distribution which sampling draws from."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import GenerationError
from .processors import FORBIDDEN, LogitsProcessor

__all__ = [
    "EpsilonLogitsWarper",
    "EtaLogitsWarper",
    "MinPLogitsWarper",
    "TemperatureLogitsWarper",
    "TopHLogitsWarper",
    "TopKLogitsWarper",
    "TopPLogitsWarper",
    "TypicalLogitsWarper",
]


def _require(admitted: bool, name: str, value: Any, what: str) -> None:
    if not admitted:
        raise GenerationError(f"`{name}` has to be {what}, and is {value!r}.")


class TemperatureLogitsWarper(LogitsProcessor):
    """Scores divided by the temperature: below 1 sharpens, above 1 flattens."""

    def __init__(self, temperature: float) -> None:
        _require(temperature > 0, "temperature", temperature, "above 0 (for greedy decoding leave sampling off)")
        self.temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores / self.temperature


class _Filter(LogitsProcessor):
    """Gives the tokens that `removed` marks the score `filter_value`; at least `keep` tokens stay."""

    def __init__(self, filter_value: float, min_tokens_to_keep: int = 1) -> None:
        _require(min_tokens_to_keep >= 1, "min_tokens_to_keep", min_tokens_to_keep, "a positive integer")
        self.filter_value = filter_value
        self.keep = int(min_tokens_to_keep)

    def removed(self, scores: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(self.removed(scores), self.filter_value)


def _below_best(scores: Tensor, count: int) -> Tensor:
    """True where a token scores less than the `count` best of its row."""
    return scores < scores.topk(min(count, scores.shape[-1]), dim=-1).values[:, -1:]


class TopKLogitsWarper(_Filter):
    """The `top_k` likeliest tokens stay (arXiv:1805.04833, section 5.4); all that tie with the last of them too."""

    def __init__(self, top_k: int, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        _require(isinstance(top_k, int) and top_k > 0, "top_k", top_k, "a positive integer")
        self.top_k = max(top_k, self.keep)

    def removed(self, scores: Tensor) -> Tensor:
        return _below_best(scores, self.top_k)


class TopPLogitsWarper(_Filter):
    """The likeliest tokens whose probabilities add up to `top_p` stay (nucleus sampling, arXiv:1904.09751)."""

    def __init__(self, top_p: float, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        _require(0 <= top_p <= 1, "top_p", top_p, "from 0 to 1")
        self.top_p = top_p

    def removed(self, scores: Tensor) -> Tensor:
        ascending, order = scores.sort(dim=-1)
        removed = ascending.softmax(-1).cumsum(-1) <= 1 - self.top_p
        removed[:, -self.keep :] = False
        return removed.scatter(1, order, removed)


class TopHLogitsWarper(_Filter):
    """The likeliest tokens that together hold `top_h` of the entropy of the 100 likeliest stay (arXiv:2509.02510)."""

    def __init__(self, top_h: float, filter_value: float = FORBIDDEN) -> None:
        super().__init__(filter_value)
        _require(0 < top_h <= 1, "top_h", top_h, "above 0 and at most 1")
        self.top_h = top_h

    def removed(self, scores: Tensor) -> Tensor:
        best, order = scores.topk(min(100, scores.shape[-1]), dim=-1)
        log_probabilities = best.log_softmax(-1)
        terms = -torch.nan_to_num(log_probabilities.exp() * log_probabilities, nan=0.0)
        removed = terms.cumsum(-1) > self.top_h * terms.sum(-1, keepdim=True)
        removed[:, 0] = False
        return torch.ones_like(scores, dtype=torch.bool).scatter(1, order, removed)


class MinPLogitsWarper(_Filter):
    """Tokens stay that are at least `min_p` times as likely as the likeliest (arXiv:2407.01082)."""

    def __init__(self, min_p: float, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        _require(0 <= min_p <= 1, "min_p", min_p, "from 0 to 1")
        self.min_p = min_p

    def removed(self, scores: Tensor) -> Tensor:
        probabilities = scores.softmax(-1)
        removed = probabilities < self.min_p * probabilities.amax(-1, keepdim=True)
        return removed.scatter(1, probabilities.topk(min(self.keep, scores.shape[-1]), dim=-1).indices, False)


class TypicalLogitsWarper(_Filter):
    """Tokens stay whose surprise is nearest to the entropy, up to a mass (locally typical sampling, arXiv:2202.00666)."""

    def __init__(self, mass: float = 0.9, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        _require(0 < mass < 1, "typical_p", mass, "above 0 and below 1")
        self.mass = mass

    def removed(self, scores: Tensor) -> Tensor:
        surprise = -scores.log_softmax(-1)
        entropy = (surprise * (-surprise).exp()).nansum(-1, keepdim=True)
        distance, order = (surprise - entropy).abs().sort(dim=-1)
        mass = scores.gather(-1, order).softmax(-1).cumsum(-1)
        last = (mass < self.mass).sum(-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
        removed = distance > distance.gather(1, last)
        removed[:, : self.keep] = False
        return removed.scatter(1, order, removed)


class EpsilonLogitsWarper(_Filter):
    """Tokens with a probability of at least `epsilon` stay (arXiv:2210.15191)."""

    def __init__(self, epsilon: float, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        _require(0 < epsilon < 1, "epsilon", epsilon, "above 0 and below 1")
        self.epsilon = epsilon

    def removed(self, scores: Tensor) -> Tensor:
        return (scores.softmax(-1) < self.epsilon) & _below_best(scores, self.keep)


class EtaLogitsWarper(EpsilonLogitsWarper):
    """Epsilon sampling whose threshold sinks with the entropy (arXiv:2210.15191)."""

    def __init__(
        self, epsilon: float, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1, device: Any = None
    ) -> None:
        super().__init__(epsilon, filter_value, min_tokens_to_keep)

    def removed(self, scores: Tensor) -> Tensor:
        log_probabilities = scores.log_softmax(-1)
        probabilities = log_probabilities.exp()
        entropy = -(probabilities * log_probabilities).nansum(-1, keepdim=True)
        threshold = (math.sqrt(self.epsilon) * (-entropy).exp()).clamp(max=self.epsilon)
        return (probabilities < threshold) & _below_best(scores, self.keep)
