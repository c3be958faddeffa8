"""Where masks come from: a generator of torch or NumPy, or the process's own. Results are tensors in any case."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Chance"]


class Chance:
    """Draws, in the order in which Hugging Face Transformers draws, so that one seed gives the same masks.

    Args:
        kind: "pt" or "np", whose generators differ.
        seed: None for the process's generator.
    """

    def __init__(self, kind: str, seed: int | None) -> None:
        self._torch: torch.Generator | None = None
        self._numpy: Any = None
        if kind == "np":
            self._numpy = np.random if seed is None else np.random.default_rng(seed)
        elif seed is not None:
            self._torch = torch.Generator().manual_seed(seed)

    def flip(self, probability: float, shape: torch.Size, never: Tensor | None = None) -> Tensor:
        """A coin for each place: BoolTensor of the shape, False where `never` is True."""
        if self._numpy is None:
            odds = torch.full(shape, float(probability))
            return torch.bernoulli(odds if never is None else odds.masked_fill(never, 0.0), generator=self._torch).bool()
        chances = probability if never is None else np.where(never.numpy(), 0.0, probability)
        return torch.from_numpy(self._numpy.binomial(1, chances, size=tuple(shape))).bool()

    def ids(self, vocab_size: int, places: Tensor) -> Tensor:
        """A token id for each True of the places: LongTensor (their number,)."""
        if self._numpy is None:
            return torch.randint(vocab_size, places.shape, generator=self._torch)[places]
        draw = self._numpy.randint if self._numpy is np.random else self._numpy.integers
        return torch.from_numpy(np.asarray(draw(0, vocab_size, size=int(places.sum()), dtype=np.int64)))
