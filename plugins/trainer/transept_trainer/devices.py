"""The accelerator of a run: devices, precision and processes are accelerate's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    TorchDynamoPlugin,
)

from transept.errors import ConfigError, UnknownArgumentError

from .data import accelerator_options
from .tracking import tracker_names

if TYPE_CHECKING:
    from .arguments import TrainingArguments

__all__ = ["make_accelerator"]


def make_accelerator(args: TrainingArguments, *, checkpointing: bool) -> Accelerator:
    """An accelerator as the arguments say; `checkpointing`: whether layers are computed twice, which DDP must know.

    Raises: ConfigError when a tracker or a device is not there.
    """
    _settle_state(args)
    options = accelerator_options(args.accelerator_config)
    accumulation = dict(options.get("gradient_accumulation_kwargs") or {})
    if accumulation.pop("num_steps", 1) != 1:
        raise UnknownArgumentError("`gradient_accumulation_kwargs` has `num_steps`: set `gradient_accumulation_steps`.")
    handlers: list[Any] = [DistributedDataParallelKwargs(**_ddp(args, checkpointing))]
    if args.ddp_backend is not None or args.ddp_timeout != 1800:
        handlers.append(InitProcessGroupKwargs(backend=args.ddp_backend, timeout=timedelta(seconds=args.ddp_timeout)))
    if args.tf32 is not None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    dynamo = TorchDynamoPlugin(backend=args.torch_compile_backend or "inductor", mode=args.torch_compile_mode)
    try:
        return Accelerator(
            mixed_precision=args.mixed_precision,
            cpu=args.use_cpu,
            # the loop counts batches itself: it knows how many an unfinished step has
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1, **accumulation),
            kwargs_handlers=handlers,
            dynamo_plugin=dynamo if args.torch_compile else None,
            log_with=tracker_names(args.report_to) or None,
            project_dir=args.logging_dir or f"{args.output_dir}/runs",
        )
    except ValueError as error:
        raise ConfigError(f"accelerate cannot serve these arguments: {error}") from error


def _settle_state(args: TrainingArguments) -> None:
    """accelerate has one state a process: an earlier trainer's of another precision or device gives way to this one's."""
    state = AcceleratorState._shared_state
    if not state and not PartialState._shared_state:
        return
    shared = PartialState._shared_state
    other_device = bool(shared) and bool(shared.get("_cpu", False)) != args.use_cpu and shared.get("num_processes", 1) == 1
    if other_device or (state and state.get("_mixed_precision") != args.mixed_precision):
        AcceleratorState._reset_state(reset_partial_state=other_device)


def _ddp(args: TrainingArguments, checkpointing: bool) -> dict[str, Any]:
    found = args.ddp_find_unused_parameters
    chosen: dict[str, Any] = {"find_unused_parameters": not checkpointing if found is None else found}
    for option in ("bucket_cap_mb", "broadcast_buffers", "static_graph"):
        value = getattr(args, f"ddp_{option}")
        if value is not None:
            chosen[option] = value
    return chosen
