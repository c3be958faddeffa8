"""Arguments that exclude each other, or that this machine cannot follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from transept.errors import ConfigError

from .names import IntervalStrategy, SaveStrategy

if TYPE_CHECKING:
    from .arguments import TrainingArguments

__all__ = ["check_combinations"]


def check_combinations(args: TrainingArguments) -> None:
    """Raises: ConfigError that names both arguments and says what to do."""
    _steps(args)
    _best_model(args)
    _precision(args)
    _data(args)


def _steps(args: TrainingArguments) -> None:
    for strategy, steps in (
        ("logging_strategy", "logging_steps"),
        ("eval_strategy", "eval_steps"),
        ("save_strategy", "save_steps"),
    ):
        value = getattr(args, steps)
        if getattr(args, strategy) == IntervalStrategy.STEPS and value is not None and value > 1 and value != int(value):
            raise ConfigError(f"`{steps}` is {value}: from 1 on it is a whole number of steps, below 1 a share of all steps.")
    if args.max_steps == 0 or args.max_steps < -1:
        raise ConfigError(f"`max_steps` is {args.max_steps}: give a number of steps, or leave it at -1.")
    if args.warmup_steps > 1 and args.warmup_steps != int(args.warmup_steps):
        raise ConfigError(
            f"`warmup_steps` is {args.warmup_steps}: from 1 on it is a whole number, below 1 a share of all steps."
        )
    if args.watches_a_metric and args.eval_strategy == IntervalStrategy.NO:
        raise ConfigError(
            f"`lr_scheduler_type` is `{args.lr_scheduler_type}`, which follows an evaluated metric: set `eval_strategy` to `steps` or `epoch`."
        )


def _best_model(args: TrainingArguments) -> None:
    if args.save_strategy == SaveStrategy.BEST and (
        args.eval_strategy == IntervalStrategy.NO or not args.metric_for_best_model
    ):
        raise ConfigError("`save_strategy` is `best`: it needs `eval_strategy` and `metric_for_best_model`.")
    if not args.load_best_model_at_end or args.save_strategy == SaveStrategy.BEST:
        return
    if args.eval_strategy != args.save_strategy:
        raise ConfigError(
            f"`load_best_model_at_end` needs `eval_strategy` and `save_strategy` to be the same, and they are "
            f"`{args.eval_strategy}` and `{args.save_strategy}`. Or set `save_strategy` to `best`."
        )
    if args.eval_strategy == IntervalStrategy.NO:
        raise ConfigError("`load_best_model_at_end` needs evaluations and saves: set `eval_strategy` and `save_strategy`.")
    if args.eval_strategy == IntervalStrategy.STEPS and args.eval_steps:
        many = args.save_steps / args.eval_steps
        if (args.save_steps < 1) != (args.eval_steps < 1) or abs(many - round(many)) > 1e-6 or many < 0.5:
            raise ConfigError(
                f"`load_best_model_at_end` needs `save_steps` to be a multiple of `eval_steps`, and they are {args.save_steps} and "
                f"{args.eval_steps}: every checkpoint must have been evaluated."
            )


def _precision(args: TrainingArguments) -> None:
    if args.fp16 and args.bf16:
        raise ConfigError("`fp16` and `bf16` exclude each other: give one.")
    if args.fp16_full_eval and args.bf16_full_eval:
        raise ConfigError("`fp16_full_eval` and `bf16_full_eval` exclude each other: give one.")
    accelerated = not args.use_cpu and (torch.cuda.is_available() or torch.backends.mps.is_available())
    if args.fp16 and not accelerated:
        raise ConfigError("`fp16` needs an accelerator, and this run is on a CPU: use `bf16`, or neither.")
    if args.tf32 and not torch.cuda.is_available():
        raise ConfigError("`tf32` needs a CUDA device, and there is none.")


def _data(args: TrainingArguments) -> None:
    if args.dataloader_num_workers == 0:
        for name in ("dataloader_prefetch_factor", "dataloader_multiprocessing_context"):
            if getattr(args, name) is not None:
                raise ConfigError(f"`{name}` is about worker processes: set `dataloader_num_workers` too.")
        if args.dataloader_persistent_workers:
            raise ConfigError("`dataloader_persistent_workers` needs `dataloader_num_workers`.")
    if args.push_to_hub and args.hub_strategy != "end" and args.save_strategy == SaveStrategy.NO:
        raise ConfigError(
            f"`hub_strategy` is `{args.hub_strategy}`, and nothing is saved: set `save_strategy`, or `hub_strategy='end'`."
        )
