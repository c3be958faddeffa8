"""Evaluation and prediction: one loop over batches, numpy arrays over all examples at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from transept.errors import InputError

from .data import has_length
from .results import EvalLoopOutput, EvalPrediction

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Gathered", "evaluation_loop", "plain_numbers", "prediction_step"]

FILL = -100


def _mapped(value: Any, change: Any) -> Any:
    """The same nest of tuples, lists and dicts, with each tensor or array changed; other things are dropped to None."""
    if isinstance(value, Tensor | np.ndarray):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_mapped(item, change) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return None


def _to_numpy(value: Any) -> Any:
    def convert(tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        tensor = tensor.detach().cpu()
        return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()

    return _mapped(value, convert)


def _joined(parts: list[Any]) -> Any:
    """Batches end to end; rows that differ in length are filled on the right with -100."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)([_joined([part[place] for part in parts]) for place in range(len(first))])
    if first is None:
        return None
    parts = [np.atleast_1d(part) for part in parts]
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        if len({len(shape) for shape in shapes}) > 1:
            raise InputError(f"The batches' results differ in their number of dimensions: {sorted(shapes)}.")
        widest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
        parts = [
            np.pad(
                part,
                [(0, 0), *((0, most - size) for most, size in zip(widest, part.shape[1:], strict=True))],
                constant_values=FILL,
            )
            for part in parts
        ]
    return np.concatenate(parts)


class Gathered:
    """What the batches of an evaluation have come to; kept on the device until it is asked to move."""

    def __init__(self, concatenate: bool) -> None:
        self.concatenate = concatenate
        self.held: list[Any] = []
        self.moved: list[Any] = []

    def add(self, value: Any) -> None:
        self.held.append(value)

    def move(self) -> None:
        """To numpy, in memory of the host."""
        self.moved += [_to_numpy(value) for value in self.held]
        self.held = []

    def arrays(self) -> Any:
        """Everything, as one array (or nest of them), or one a batch; None where nothing was added."""
        self.move()
        if not self.moved:
            return None
        return _joined(self.moved) if self.concatenate else self.moved


def batch_size_of(inputs: Any) -> int | None:
    """Rows of a batch: the first dimension of the first tensor in it."""
    values = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, list | tuple) else [inputs]
    for value in values:
        if isinstance(value, Tensor) and value.dim():
            return int(value.shape[0])
        if isinstance(value, Mapping | list | tuple) and (found := batch_size_of(value)) is not None:
            return found
    return None


def plain_numbers(metrics: Any) -> Any:
    """Numpy numbers and tensors of one element become Python's."""
    if isinstance(metrics, Mapping):
        return {str(key): plain_numbers(value) for key, value in metrics.items()}
    if isinstance(metrics, np.generic) or (isinstance(metrics, np.ndarray | Tensor) and metrics.size in (1, None)):
        return metrics.item()
    if isinstance(metrics, Tensor):
        return metrics.item() if metrics.numel() == 1 else metrics.tolist()
    return metrics


@torch.no_grad()
def evaluation_loop(
    trainer: Trainer,
    loader: Any,
    description: str,
    prediction_loss_only: bool | None = None,
    ignore_keys: list[str] | None = None,
    metric_key_prefix: str = "eval",
) -> EvalLoopOutput:
    """Go through a loader; see `Trainer.evaluation_loop`."""
    args, accelerator = trainer.args, trainer.accelerator
    loss_only = args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
    model = trainer.model_for_evaluation()
    was_training = model.training
    model.eval()
    inner = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    if callable(getattr(inner, "eval", None)):
        inner.eval()
    trainer.callback_handler.eval_dataloader = loader
    losses, predictions, labels, kept_inputs = (Gathered(args.eval_do_concat_batches) for _ in range(4))
    metrics: dict[str, Any] | None = None
    seen = 0
    main_input = getattr(trainer.model, "main_input_name", "input_ids")
    total = len(loader) if has_length(loader) else None
    for place, inputs in enumerate(loader):
        is_last = accelerator.gradient_state.end_of_dataloader or place + 1 == total
        size = batch_size_of(inputs) or 1
        loss, logits, truth = trainer.prediction_step(model, inputs, loss_only, ignore_keys=ignore_keys)
        shown = trainer._prepare_input(inputs[main_input]) if "inputs" in args.include_for_metrics else None
        if loss is not None:
            loss = trainer.gather_function(loss.detach().float().reshape(1).repeat(size))
            losses.add(loss)
        logits, truth, shown = (None if one is None else _one_width(trainer, one) for one in (logits, truth, shown))
        if logits is not None and trainer.preprocess_logits_for_metrics is not None:
            logits = trainer.preprocess_logits_for_metrics(logits, truth)
        logits, truth, shown = (None if one is None else trainer.gather_function(one) for one in (logits, truth, shown))
        seen += loss.shape[0] if loss is not None else size * args.world_size
        trainer.callback_handler.call("on_prediction_step")
        if args.batch_eval_metrics and trainer.compute_metrics is not None and logits is not None and truth is not None:
            more = {"losses": loss if "loss" in args.include_for_metrics else None, "inputs": shown}
            metrics = trainer.compute_metrics(EvalPrediction(logits, truth, **more), compute_result=is_last)
        if not args.batch_eval_metrics or description == "Prediction":
            for store, value in ((predictions, logits), (labels, truth), (kept_inputs, shown)):
                if value is not None:
                    store.add(value)
            if args.eval_accumulation_steps is not None and (place + 1) % args.eval_accumulation_steps == 0:
                for store in (losses, predictions, labels, kept_inputs):
                    store.move()
    trainer.gather_function = accelerator.gather_for_metrics
    if was_training:
        model.train()
    if not seen:
        raise InputError(f"The data of this {description.lower()} is empty: it has no examples.")
    every_loss, every_prediction, every_label = losses.arrays(), predictions.arrays(), labels.arrays()
    if (
        trainer.compute_metrics is not None
        and not args.batch_eval_metrics
        and every_prediction is not None
        and every_label is not None
    ):
        more = {"losses": every_loss if "loss" in args.include_for_metrics else None, "inputs": kept_inputs.arrays()}
        metrics = trainer.compute_metrics(EvalPrediction(every_prediction, every_label, **more))
    found = dict(plain_numbers(metrics or {}))
    if every_loss is not None:
        found[f"{metric_key_prefix}_loss"] = _mean_loss(every_loss, args.logging_nan_inf_filter and not args.stop_on_nan)
    prefixed = {
        name if name.startswith(f"{metric_key_prefix}_") else f"{metric_key_prefix}_{name}": value
        for name, value in found.items()
    }
    data = getattr(loader, "dataset", None)
    samples = len(data) if has_length(data) else seen
    return EvalLoopOutput(every_prediction, every_label, prefixed, samples)


def _one_width(trainer: Trainer, value: Any) -> Any:
    """Processes may have batches of different lengths: they are filled before they are gathered."""
    return trainer.accelerator.pad_across_processes(value, dim=1, pad_index=FILL)


def _mean_loss(losses: Any, filtered: bool) -> float:
    every = np.concatenate(losses) if isinstance(losses, list) else losses
    finite = np.isfinite(every)
    if filtered and finite.any():
        every = every[finite]
    return float(every.astype(np.float64).mean()) if len(every) else math.nan


def prediction_step(
    trainer: Trainer, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None
) -> tuple[Tensor | None, Any, Any]:
    """Loss, logits and labels of a batch; see `Trainer.prediction_step`."""
    names = trainer.label_names
    labelled = bool(names) and all(inputs.get(name) is not None for name in names)
    returns_loss = not names and (inputs.get("return_loss") or trainer.can_return_loss)
    inputs = trainer._prepare_inputs(inputs)
    if ignore_keys is None:
        ignore_keys = list(getattr(getattr(trainer.model, "config", None), "keys_to_ignore_at_inference", ["past_key_values"]))
    truth = None
    if labelled or returns_loss:
        taken = tuple(inputs.get(name) for name in names)
        truth = taken[0] if len(taken) == 1 else taken or None
    with torch.no_grad():
        loss = None
        if labelled or returns_loss:
            count = trainer.get_item_count([inputs])
            loss, outputs = trainer.compute_loss(model, inputs, return_outputs=True, num_items_in_batch=count)
            loss = loss.detach().mean()
        else:
            outputs = model(**inputs)
    if prediction_loss_only:
        return loss, None, None
    if isinstance(outputs, Mapping):
        left = [
            value for name, value in outputs.items() if name not in ignore_keys and not (name == "loss" and loss is not None)
        ]
    else:
        left = list(outputs[1:] if loss is not None else outputs)
    found = tuple(value for value in left if isinstance(value, Tensor | tuple | list | Mapping))
    logits = found[0] if len(found) == 1 else found or None
    return loss, logits, truth
