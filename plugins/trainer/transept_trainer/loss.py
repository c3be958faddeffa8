"""What is minimised: how labels are counted, smoothed, and how noise is put on embeddings."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transept.discovery import registry

from .columns import inspected

__all__ = ["IGNORED", "count_labels", "counted", "label_smoothed_loss", "neftune", "shifts_labels", "takes_item_count"]

IGNORED = -100


def takes_item_count(model: nn.Module) -> bool:
    """Whether `forward` divides its loss by `num_items_in_batch` when it is given; a `**kwargs` is taken to pass it on."""
    model = inspected(model)
    if hasattr(model, "accepts_loss_kwargs"):
        return bool(model.accepts_loss_kwargs)
    parameters = inspect.signature(type(model).forward).parameters
    return "num_items_in_batch" in parameters or any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def shifts_labels(model: nn.Module) -> bool:
    """Whether a position's label is its next token: the causal language models."""
    model = inspected(model)
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        return False
    name = type(model).__name__
    record = registry.find("models", getattr(config, "model_type", None) or "") if config is not None else None
    if record is not None and record.tasks.get("causal_lm", "").endswith(f":{name}"):
        return True
    return name.endswith(("ForCausalLM", "LMHeadModel"))


def counted(batch: Any, shift: bool) -> Tensor | None:
    """The labels of a batch that could count, or None where it has none that can be counted."""
    if not hasattr(batch, "get"):
        return None
    labels = batch.get("shift_labels") if batch.get("shift_labels") is not None else batch.get("labels")
    if not isinstance(labels, Tensor):
        return None
    return labels[..., 1:] if shift and batch.get("shift_labels") is None and labels.dim() > 1 else labels


def count_labels(batches: Sequence[Any], shift: bool) -> list[int] | None:
    """How many labels count in each batch; None where they cannot be counted."""
    found = [counted(batch, shift) for batch in batches]
    if any(labels is None for labels in found):
        return None
    return [int(labels.ne(IGNORED).sum()) for labels in found if labels is not None]


def label_smoothed_loss(
    outputs: Any, labels: Tensor, epsilon: float, *, shift: bool, num_items: Tensor | int | None = None
) -> Tensor:
    """Cross entropy against labels that are right with 1 - epsilon, and uniform over all classes with epsilon.

    (https://arxiv.org/abs/1512.00567.) Labels of -100 don't count; the sum is divided by `num_items`, or by those that do.
    """
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
    if shift:
        logits, labels = logits[..., :-1, :], labels[..., 1:]
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    labels = labels.to(logits.device)
    keep = labels.ne(IGNORED)
    right = -log_probs.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    uniform = -log_probs.mean(dim=-1)
    total = (((1 - epsilon) * right + epsilon * uniform) * keep).sum()
    return total / (keep.sum() if num_items is None else num_items)


def neftune(embedding: nn.Module, alpha: float) -> Any:
    """A hook that adds uniform noise of `alpha / sqrt(length * width)` to embeddings while training; returns its handle.

    (https://arxiv.org/abs/2310.05914.)
    """

    def add_noise(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not module.training:
            return output
        reach = alpha / (output.size(1) * output.size(2)) ** 0.5
        return output + torch.zeros_like(output).uniform_(-reach, reach)

    return embedding.register_forward_hook(add_noise)
