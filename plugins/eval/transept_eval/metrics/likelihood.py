"""How surprising tokens are to a language model."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["perplexity"]


def perplexity(predictions: Any, references: Any, *, shift: bool = True) -> dict[str, float]:
    """exp of the mean negative log likelihood of all tokens that count.

    Args:
        predictions: logits (n, seq, vocab).
        references: labels (n, seq), -100 where none counts.
        shift: a logit is for the next token, as decoders have it; False: for its own, as masked language models do.

    Returns:
        `perplexity`, and `nll`, the mean itself in nats a token.
    """
    total, count = 0.0, 0
    for row, row_labels in zip(predictions, references, strict=True):  # row by row: float64 of all would be large
        logits, labels = (row[:-1], row_labels[1:]) if shift else (row, row_labels)
        counts = labels != -100
        chosen, targets = np.asarray(logits[counts], dtype=np.float64), labels[counts]
        top = chosen.max(-1, keepdims=True, initial=-np.inf)
        normaliser = np.log(np.exp(chosen - top).sum(-1)) + top[:, 0]
        total += float((normaliser - chosen[np.arange(len(targets)), targets]).sum())
        count += len(targets)
    mean = total / count if count else float("nan")
    return {"perplexity": float(np.exp(mean)), "nll": mean}
