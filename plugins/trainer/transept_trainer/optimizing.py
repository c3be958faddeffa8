"""The part of `Trainer` that makes optimizer and schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from transept.errors import InputError

from .greedy import GreedyLR
from .optimizers import decayed_names, make_optimizer, optimizer_and_options, parameter_groups
from .schedules import get_scheduler

if TYPE_CHECKING:
    from .arguments import TrainingArguments

__all__ = ["Optimizing"]


class Optimizing:
    """By name, or as the caller gave them; a `Trainer` has the attributes."""

    if TYPE_CHECKING:
        args: TrainingArguments
        model: nn.Module
        optimizer: Any
        lr_scheduler: Any
        optimizer_cls_and_kwargs: tuple[Any, dict[str, Any]] | None

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Make both, where they are not there. Override this, or one of the two that it calls."""
        self.create_optimizer()
        self.create_scheduler(num_training_steps)

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        """The optimizer that `args.optim` names, over decayed and undecayed parameters."""
        if self.optimizer is None:
            model = self.model if model is None else model
            groups = parameter_groups(model, self.get_decay_parameter_names(model), self.args.weight_decay)
            if self.optimizer_cls_and_kwargs is not None:
                make, options = self.optimizer_cls_and_kwargs
                self.optimizer = make(groups, **options)
            else:
                self.optimizer = make_optimizer(self.args, groups)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule that `args.lr_scheduler_type` names."""
        if self.lr_scheduler is None:
            optimizer = self.optimizer if optimizer is None else optimizer
            options = self.args.lr_scheduler_kwargs
            self.lr_scheduler = get_scheduler(
                str(self.args.lr_scheduler_type),
                optimizer=getattr(optimizer, "optimizer", optimizer),
                num_warmup_steps=self.args.get_warmup_steps(num_training_steps),
                num_training_steps=num_training_steps,
                scheduler_specific_kwargs=options,
            )
        return self.lr_scheduler

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names of the parameters that weight decay is applied to."""
        return decayed_names(model)

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: nn.Module | None = None) -> tuple[Any, dict[str, Any]]:
        """What makes the optimizer that `args.optim` names, and with what."""
        return optimizer_and_options(args)

    @property
    def steps_on_metrics(self) -> bool:
        """The schedule steps after evaluations, on their metric."""
        return isinstance(self.lr_scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau | GreedyLR)

    def _get_learning_rate(self) -> float:
        rate = self.optimizer.param_groups[0]["lr"] if self.steps_on_metrics else self.lr_scheduler.get_last_lr()[0]
        return rate.item() if isinstance(rate, Tensor) else rate

    def get_learning_rates(self) -> list[float]:
        """The rate of each parameter group."""
        if self.optimizer is None:
            raise InputError("There is no optimizer yet: call `train`, or `create_optimizer`.")
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_num_trainable_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
