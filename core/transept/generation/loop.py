"""The decoding loop: run the model, shape the scores, choose, append, until every row has enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .session import GenerationSession

__all__ = ["run"]


def run(session: GenerationSession, choose: Callable[[Tensor], Tensor]) -> Any:
    """Generate one token a row and step.

    Args:
        choose: from scores (batch, vocab) to token ids (batch,).
    """
    while not session.finished:
        logits = session.forward()[:, -1]
        session.append(choose(session.process(logits)))
    return session.result()
