"""What task heads are trained on. Every loss is taken in float32."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError, InputError

__all__ = [
    "causal_lm_loss",
    "masked_lm_loss",
    "question_answering_loss",
    "sequence_classification_loss",
    "token_classification_loss",
]

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


def _cross_entropy(logits: Tensor, labels: Tensor, num_items: Tensor | int | None = None, ignore_index: int = -100) -> Tensor:
    """Cross entropy of (n, classes) against (n,): the mean, or the sum divided by `num_items`."""
    labels = _class_ids(labels).to(logits.device)
    try:
        if num_items is None:
            return F.cross_entropy(logits, labels, ignore_index=ignore_index)
        total = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="sum")
    except IndexError as error:
        raise InputError(
            f"`labels` reach outside the {logits.shape[-1]} classes, 0 to {logits.shape[-1] - 1}: {error}"
        ) from error
    return total / (num_items.to(total.device) if isinstance(num_items, Tensor) else num_items)


def _tensor(labels: Any, name: str = "labels") -> Tensor:
    if not isinstance(labels, Tensor):
        raise InputError(f"`{name}` is a {type(labels).__name__} and no tensor: make one with `torch.tensor`.")
    return labels


def _class_ids(labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        raise InputError(f"`labels` are {labels.dtype}: classes are whole numbers, or `problem_type` is another.")
    return labels.long()


def _check_labels(labels: Tensor, expected: torch.Size, name: str = "labels") -> None:
    if _tensor(labels, name).shape != expected:
        raise InputError(f"`{name}` has shape {tuple(labels.shape)}; the logits need {tuple(expected)}.")


def causal_lm_loss(
    logits: Tensor,
    labels: Tensor | None = None,
    vocab_size: int | None = None,
    *,
    num_items_in_batch: Tensor | int | None = None,
    ignore_index: int = -100,
    shift_labels: Tensor | None = None,
) -> Tensor:
    """Cross entropy of each position's logits against the next token.

    Args:
        logits: (batch, seq, vocab).
        labels: (batch, seq) token ids, unshifted; positions of `ignore_index` don't count.
        vocab_size: number of classes; None: what the logits have.
        num_items_in_batch: divide the sum by this (the count over a whole accumulated batch) instead of taking the mean.
        shift_labels: labels that are shifted already, in place of `labels`.

    Raises:
        InputError: labels of another shape than (batch, seq), or outside the vocabulary.
    """
    if vocab_size not in (None, logits.shape[-1]):
        raise InputError(f"`vocab_size` is {vocab_size}, and the logits are over {logits.shape[-1]} classes.")
    if shift_labels is None:
        if labels is None:
            raise InputError("A loss needs `labels` or `shift_labels`.")
        _check_labels(labels, logits.shape[:-1])
        # shifting the labels rather than the logits copies the smaller of the two
        shift_labels = F.pad(_class_ids(labels), (0, 1), value=ignore_index)[..., 1:]
    _check_labels(shift_labels, logits.shape[:-1], "shift_labels")
    return _cross_entropy(logits.float().flatten(0, -2), shift_labels.flatten(), num_items_in_batch, ignore_index)


def masked_lm_loss(
    logits: Tensor, labels: Tensor, *, num_items_in_batch: Tensor | int | None = None, ignore_index: int = -100
) -> Tensor:
    """Cross entropy of each position's logits, (batch, seq, vocab), against its own label, (batch, seq)."""
    _check_labels(labels, logits.shape[:-1])
    return _cross_entropy(logits.float().flatten(0, -2), labels.flatten(), num_items_in_batch, ignore_index)


def token_classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of (batch, seq, num_labels) against (batch, seq); -100 doesn't count."""
    return masked_lm_loss(logits, labels)


def sequence_classification_loss(logits: Tensor, labels: Tensor, problem_type: str | None = None) -> Tensor:
    """Loss of one prediction a sequence.

    Args:
        logits: (batch, num_labels).
        labels: (batch,) class ids or numbers, or (batch, num_labels) numbers or 0/1.
        problem_type: `regression` (mean squared error), `single_label_classification` (cross entropy) or
            `multi_label_classification` (binary cross entropy). None: regression with one label, else by the labels' dtype.

    Raises:
        ConfigError: another problem type. InputError: labels that don't fit it.
    """
    num_labels, labels = logits.shape[-1], _tensor(labels).to(logits.device)
    if problem_type is None:
        single = labels.dtype in (torch.int64, torch.int32)
        problem_type = PROBLEM_TYPES[0] if num_labels == 1 else PROBLEM_TYPES[1] if single else PROBLEM_TYPES[2]
    logits = logits.float()
    if problem_type == "single_label_classification":
        _check_labels(labels.flatten(), logits.shape[:1])
        return _cross_entropy(logits, labels.flatten())
    if problem_type == "regression":
        labels = labels.reshape(-1, 1) if num_labels == 1 else labels
        _check_labels(labels, logits.shape)
        return F.mse_loss(logits, labels.float())
    if problem_type == "multi_label_classification":
        _check_labels(labels, logits.shape)
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    raise ConfigError(f"`problem_type` is `{problem_type}`: it must be one of {', '.join(PROBLEM_TYPES)}.")


def question_answering_loss(start_logits: Tensor, end_logits: Tensor, start_positions: Tensor, end_positions: Tensor) -> Tensor:
    """Mean of the cross entropies of the answer's first and last token.

    Logits are (batch, seq), positions (batch,) or (batch, 1). A position outside the sequence doesn't count.
    """
    start = _position_loss(start_logits, start_positions, "start_positions")
    return (start + _position_loss(end_logits, end_positions, "end_positions")) / 2


def _position_loss(logits: Tensor, positions: Tensor, name: str) -> Tensor:
    outside = logits.shape[1]
    positions = _tensor(positions, name).flatten()
    _check_labels(positions, logits.shape[:1], name)
    return _cross_entropy(logits.float(), positions.clamp(0, outside), ignore_index=outside)
