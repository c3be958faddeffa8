"""The strategies that come with the core. They are found through the registry like anybody's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import GenerationError
from .loop import run
from .session import GenerationSession

__all__ = ["greedy", "sample"]


def greedy(session: GenerationSession) -> Any:
    """The likeliest token each time."""
    return run(session, lambda scores: scores.argmax(-1))


def sample(session: GenerationSession) -> Any:
    """A token drawn from the softmax of the scores each time, with `session.generator`.

    Raises:
        GenerationError: the scores of a row are NaN, or leave no token.
    """

    def draw(scores: Tensor) -> Tensor:
        try:
            return torch.multinomial(scores.softmax(-1), 1, generator=session.generator)[:, 0]
        except RuntimeError as error:
            if torch.isfinite(scores).any(-1).all() and not scores.isnan().any():
                raise
            raise GenerationError(
                "The scores leave no token to draw: they are NaN, or every token is forbidden. Loosen the filters; if the "
                "model's logits are NaN, load it in another dtype or set `remove_invalid_values=True`."
            ) from error

    return run(session, draw)
