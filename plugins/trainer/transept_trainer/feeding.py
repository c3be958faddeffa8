"""The part of `Trainer` that brings batches: loaders, what counts in them, the way to the device."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from transept.errors import InputError

from .columns import accepted_columns, inspected
from .data import accelerator_options, eval_loader, has_length, train_loader
from .failures import check_labels
from .loss import count_labels

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from .arguments import TrainingArguments

__all__ = ["Feeding"]


class Feeding:
    """From datasets to batches on the device; a `Trainer` has the attributes."""

    if TYPE_CHECKING:
        args: TrainingArguments
        model: nn.Module
        accelerator: Accelerator
        label_names: list[str]
        train_dataset: Any
        eval_dataset: Any
        processing_class: Any
        data_collator: Any
        compute_loss_func: Any
        train_batch_size: int
        _shifts_labels: bool
        _custom_loss: bool

    def accepted_columns(self) -> set[str] | None:
        """Columns that the model takes; None: all."""
        return accepted_columns(self.model, self.label_names)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The training batches of this process. Overridden, it may return any loader; `set_epoch` is called where there is one."""
        return train_loader(self, self.train_dataset, self.train_batch_size)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Batches in order; a string names one of several `eval_dataset`s."""
        if isinstance(eval_dataset, str):
            eval_dataset = self.eval_dataset[eval_dataset]
        return eval_loader(self, self.eval_dataset if eval_dataset is None else eval_dataset, "evaluation")

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        return eval_loader(self, test_dataset, "prediction")

    def num_examples(self, dataloader: Any) -> int:
        """Examples that a loader goes through."""
        data = getattr(dataloader, "examples", getattr(dataloader, "dataset", None))
        return len(data) if has_length(data) else len(dataloader) * self.args.per_device_train_batch_size

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any = None) -> tuple[list[Any], Any]:
        """The batches of the next step, and how many labels count in all of them over all processes (None: it is not needed)."""
        batches = []
        for _ in range(num_batches):
            batch = next(epoch_iterator, None)
            if batch is None:
                break
            batches.append(batch)
        return batches, self.get_item_count(batches)

    def get_item_count(self, batches: list[Any]) -> Any:
        """Labels that count in these batches, over all processes; None where a mean over the one batch says the same."""
        args = self.args
        wanted = len(batches) > 1 or args.world_size > 1 or self.compute_loss_func is not None or self._custom_loss
        counts = count_labels(batches, self._shifts_labels) if wanted and batches else None
        if counts is None:
            return None
        total = torch.tensor(sum(counts), device=args.device)
        if args.world_size > 1 and args.average_tokens_across_devices:
            total = self.accelerator.gather(total).sum()
        return total

    def _prepare_input(self, data: Any) -> Any:
        """Tensors on the device, in whatever they are nested."""
        if isinstance(data, Tensor):
            return (
                data
                if data.device == self.accelerator.device
                else data.to(self.accelerator.device, non_blocking=self._non_blocking)
            )
        if isinstance(data, Mapping):
            return {key: self._prepare_input(value) for key, value in data.items()}
        if isinstance(data, list | tuple):
            return type(data)(self._prepare_input(value) for value in data)
        return data

    @functools.cached_property
    def _non_blocking(self) -> bool:
        return bool(accelerator_options(self.args.accelerator_config).get("non_blocking", False))

    def _prepare_inputs(self, inputs: Any) -> dict[str, Any]:
        if not isinstance(inputs, Mapping):
            raise InputError(f"A batch is a `{type(inputs).__name__}`: the collator must make a dict of the model's arguments.")
        if not inputs:
            raise InputError("A batch is empty: none of the examples' columns is an argument of the model.")
        if self.accelerator.device.type != "cpu" and "labels" in inputs:
            check_labels(inputs["labels"], self._classes)
        return self._prepare_input(inputs)

    @functools.cached_property
    def _classes(self) -> int | None:
        """Classes that labels may name, where the model says so."""
        config, name = getattr(self.model, "config", None), type(inspected(self.model)).__name__
        if config is None or self.compute_loss_func is not None:
            return None
        if name.endswith("Classification") and getattr(config, "problem_type", None) in (None, "single_label_classification"):
            return getattr(config, "num_labels", None) if getattr(config, "num_labels", 1) > 1 else None
        if name.endswith(("ForCausalLM", "LMHeadModel", "ForMaskedLM")):
            return getattr(config, "vocab_size", None)
        return None
