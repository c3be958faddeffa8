"""`TrainingArguments`: everything about a run that is not the model or the data, with the peer's names and defaults.

Types and ranges are checked when an argument is given and when it is assigned; what must fit together is checked on construction and
again when a trainer begins. Spellings of older versions are understood (`spellings.py`), what is not known is an error with near names.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from transept.errors import ConfigError, UnknownArgumentError, did_you_mean

from .names import HubStrategy, IntervalStrategy, ParallelMode, SamplingStrategy, SaveStrategy
from .spellings import current_spelling

__all__ = ["TrainingArguments"]

LogLevel = Literal["debug", "info", "warning", "error", "critical", "passive"]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0)]
"""A number of steps, or, below 1, a share of all steps."""
Name = Annotated[str, AfterValidator(lambda value: str(getattr(value, "value", value)))]


class TrainingArguments(BaseModel):
    """Arguments of a `Trainer`. Only `output_dir` may be given by position.

    Raises:
        UnknownArgumentError: an argument that is not known, or that asks for what the trainer does not do.
        ConfigError: a wrong value, or values that exclude each other.
    """

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )

    output_dir: str = "trainer_output"
    """Where checkpoints, the log (`log.jsonl`) and the loss curve (`loss.svg`) go."""

    # -- how long, how much at once
    per_device_train_batch_size: Positive = 8
    num_train_epochs: Annotated[float, Field(gt=0)] = 3.0
    max_steps: int = -1
    """Steps of the optimizer, in place of epochs; needed where the data has no length. -1: not given."""
    gradient_accumulation_steps: Positive = 1
    auto_find_batch_size: bool = False
    """Halve the training batch until it fits into memory."""

    # -- learning rate
    learning_rate: Annotated[float, Field(ge=0)] = 5e-5
    lr_scheduler_type: Name | Enum = "linear"
    """Name of an installed schedule (entry-point group `transept.schedulers`)."""
    lr_scheduler_kwargs: dict[str, Any] | None = None
    warmup_steps: Share = 0
    """Steps, or below 1 a share of all steps, over which the rate rises from zero."""

    # -- optimizer
    optim: Name | Enum = "adamw_torch_fused"
    """Name of an installed optimizer (entry-point group `transept.optimizers`)."""
    optim_args: dict[str, Any] | str | None = None
    """Options of the optimizer: a dict, or `name=value,name=value`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Not applied to biases and norms."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    adam_epsilon: Annotated[float, Field(ge=0)] = 1e-8
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this norm; 0: never."""
    average_tokens_across_devices: bool = True
    label_smoothing_factor: Annotated[float, Field(ge=0, lt=1)] = 0.0
    neftune_noise_alpha: Annotated[float, Field(gt=0)] | None = None
    """Noise on the embeddings of tokens while training (https://arxiv.org/abs/2310.05914)."""

    # -- precision and memory
    bf16: bool = False
    fp16: bool = False
    bf16_full_eval: bool = False
    fp16_full_eval: bool = False
    tf32: bool | None = None
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass. `activation_checkpointing` is the same."""
    gradient_checkpointing_kwargs: dict[str, Any] | None = None
    torch_compile: bool = False
    torch_compile_backend: str | None = None
    torch_compile_mode: str | None = None
    torch_empty_cache_steps: Positive | None = None
    use_cache: bool = False

    # -- logging
    logging_strategy: IntervalStrategy = IntervalStrategy.STEPS
    logging_steps: Annotated[float, Field(gt=0)] = 500
    logging_first_step: bool = False
    logging_nan_inf_filter: bool = True
    """With `stop_on_nan=False`: leave losses that are no numbers out of what is logged."""
    stop_on_nan: bool = True
    """Stop at the first loss or gradient that is no finite number, name the batch, and save the state before it."""
    logging_dir: str | None = None
    """Where trackers that write files do so; `runs` in `output_dir` unless given."""
    include_num_input_tokens_seen: Literal["all", "non_padding", "no"] | bool = "no"
    log_level: LogLevel = "passive"
    log_level_replica: LogLevel = "warning"
    log_on_each_node: bool = True
    disable_tqdm: bool | None = None
    """True: no progress bar, one line a log. None: a bar on a terminal, lines elsewhere."""
    report_to: Any = Field(default_factory=list)
    """Trackers of accelerate: `tensorboard`, `wandb`, …, a list of them, `all` that are installed, `none`."""
    run_name: str | None = None
    project: str = "transept"

    # -- evaluation
    eval_strategy: IntervalStrategy = IntervalStrategy.NO
    eval_steps: Share | None = None
    eval_delay: Annotated[float, Field(ge=0)] = 0
    per_device_eval_batch_size: Positive = 8
    prediction_loss_only: bool = False
    eval_on_start: bool = False
    eval_accumulation_steps: Positive | None = None
    eval_do_concat_batches: bool = True
    eval_use_gather_object: bool = False
    batch_eval_metrics: bool = False
    include_for_metrics: list[Literal["inputs", "loss"]] = Field(default_factory=list)
    do_train: bool = False
    do_eval: bool = False
    do_predict: bool = False

    # -- checkpoints
    save_strategy: SaveStrategy = SaveStrategy.STEPS
    save_steps: Share = 500
    save_total_limit: Annotated[int, Field(ge=1)] | None = None
    save_only_model: bool = False
    save_on_each_node: bool = False
    enable_jit_checkpoint: bool = True
    """SIGTERM saves at the end of the step and stops."""
    load_best_model_at_end: bool = False
    metric_for_best_model: str | None = None
    greater_is_better: bool | None = None
    resume_from_checkpoint: str | bool | None = None
    ignore_data_skip: bool = False
    restore_callback_states_from_checkpoint: bool = False

    # -- the hub
    push_to_hub: bool = False
    hub_token: str | None = Field(default=None, repr=False)
    hub_private_repo: bool | None = None
    hub_model_id: str | None = None
    hub_strategy: HubStrategy = HubStrategy.EVERY_SAVE
    hub_revision: str | None = None

    # -- chance
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    data_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Of the order of examples and of what collators draw; `seed` unless given."""
    full_determinism: bool = False

    # -- data
    dataloader_drop_last: bool = False
    dataloader_num_workers: Annotated[int, Field(ge=0)] = 0
    dataloader_pin_memory: bool = True
    dataloader_persistent_workers: bool = False
    dataloader_prefetch_factor: Positive | None = None
    dataloader_multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = None
    dataloader_in_order: bool = True
    remove_unused_columns: bool = True
    label_names: list[str] | None = None
    train_sampling_strategy: SamplingStrategy = SamplingStrategy.RANDOM
    length_column_name: str = "length"

    # -- processes
    use_cpu: bool = False
    accelerator_config: dict[str, Any] | str | None = None
    """`split_batches`, `even_batches`, `non_blocking` and `gradient_accumulation_kwargs` of accelerate, or a JSON file of them."""
    ddp_find_unused_parameters: bool | None = None
    ddp_bucket_cap_mb: Positive | None = None
    ddp_broadcast_buffers: bool | None = None
    ddp_static_graph: bool | None = None
    ddp_backend: str | None = None
    ddp_timeout: Positive = 1800
    local_rank: int = -1

    def __init__(self, *positional: Any, **arguments: Any) -> None:
        if positional:
            if len(positional) > 1 or "output_dir" in arguments:
                raise UnknownArgumentError("`TrainingArguments` takes `output_dir` by position, and everything else by name.")
            arguments["output_dir"] = positional[0]
        arguments = current_spelling(type(self).__name__, arguments)
        known = type(self).model_fields
        for name in arguments:
            if name not in known:
                hint = did_you_mean(name, known)
                raise UnknownArgumentError(f"`{type(self).__name__}` has no argument `{name}`.{hint}", argument=name)
        try:
            super().__init__(**_parsed(arguments))
        except ValidationError as error:
            raise _readable(type(self), error) from error
        self._settle()
        self.check()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name not in type(self).model_fields and not hasattr(type(self), name):
            raise UnknownArgumentError(
                f"`{type(self).__name__}` has no argument `{name}`.{did_you_mean(name, type(self).model_fields)}"
            )
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise _readable(type(self), error) from error

    def _settle(self) -> None:
        """Fill in what follows from other arguments."""
        self.output_dir = os.path.expanduser(self.output_dir)
        for name in ("optim", "lr_scheduler_type"):
            setattr(self, name, str(getattr(getattr(self, name), "value", getattr(self, name))))
        if self.eval_strategy != IntervalStrategy.NO:
            self.do_eval = True
        if self.eval_strategy == IntervalStrategy.STEPS and not self.eval_steps:
            self.eval_steps = self.logging_steps
        for name in ("logging_steps", "eval_steps", "save_steps"):
            value = getattr(self, name)
            if value is not None and value >= 1 and float(value).is_integer():
                setattr(self, name, int(value))
        if self.metric_for_best_model is None and (self.load_best_model_at_end or self.watches_a_metric):
            self.metric_for_best_model = "loss"
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = not self.metric_for_best_model.endswith("loss")
        if isinstance(self.include_num_input_tokens_seen, bool):
            self.include_num_input_tokens_seen = "all" if self.include_num_input_tokens_seen else "no"
        if self.torch_compile_backend is not None or self.torch_compile_mode is not None:
            self.torch_compile = True
        wanted = self.report_to
        listed = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        self.report_to = [each for each in listed if each not in (None, "none")]

    def check(self) -> None:
        """Refuse what excludes each other. Raises: ConfigError."""
        from .combinations import check_combinations

        check_combinations(self)

    # -- what follows from the arguments

    @property
    def watches_a_metric(self) -> bool:
        """The schedule steps on an evaluated metric."""
        return self.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy")

    @property
    def mixed_precision(self) -> str:
        """accelerate's word for the precision of forward passes."""
        if self.fp16 or self.bf16:
            return "fp16" if self.fp16 else "bf16"
        return os.environ.get("ACCELERATE_MIXED_PRECISION", "no")

    @property
    def train_batch_size(self) -> int:
        """Examples a batch and process; a process has one device."""
        return self.per_device_train_batch_size

    @property
    def eval_batch_size(self) -> int:
        return self.per_device_eval_batch_size

    @property
    def order_seed(self) -> int:
        return self.seed if self.data_seed is None else self.data_seed

    def _processes(self) -> Any:
        from accelerate.state import PartialState

        return PartialState(cpu=self.use_cpu)

    @property
    def device(self) -> torch.device:
        return self._processes().device

    @property
    def n_gpu(self) -> int:
        return int(self.device.type != "cpu")

    @property
    def world_size(self) -> int:
        return self._processes().num_processes

    @property
    def process_index(self) -> int:
        return self._processes().process_index

    @property
    def local_process_index(self) -> int:
        return self._processes().local_process_index

    @property
    def parallel_mode(self) -> ParallelMode:
        return ParallelMode.DISTRIBUTED if self.world_size > 1 else ParallelMode.NOT_PARALLEL

    @property
    def should_log(self) -> bool:
        return (self.local_process_index if self.log_on_each_node else self.process_index) == 0

    @property
    def should_save(self) -> bool:
        return (self.local_process_index if self.save_on_each_node else self.process_index) == 0

    @contextmanager
    def main_process_first(self, local: bool = True, desc: str = "work") -> Iterator[None]:
        """The other processes wait until the first one is through, and find what it cached."""
        with self._processes().local_main_process_first() if local else self._processes().main_process_first():
            yield

    def get_warmup_steps(self, num_training_steps: int) -> int:
        return int(self.warmup_steps) if self.warmup_steps >= 1 else math.ceil(num_training_steps * self.warmup_steps)

    def optimizer_options(self) -> dict[str, Any]:
        """`optim_args` as a dict; text becomes a number, True, False or None where it looks like one."""
        if not self.optim_args:
            return {}
        if isinstance(self.optim_args, dict):
            return dict(self.optim_args)
        options: dict[str, Any] = {}
        for part in self.optim_args.replace(" ", "").split(","):
            name, equals, value = part.partition("=")
            if not (name and equals):
                raise ConfigError(f"`optim_args` holds `{part}`: write name=value,name=value.")
            try:
                options[name] = json.loads(value.lower())
            except ValueError:
                options[name] = value
        return options

    # -- as data

    def to_dict(self) -> dict[str, Any]:
        """Plain values; tokens are left out by name."""
        found = self.model_dump(mode="python")
        for name, value in found.items():
            if isinstance(value, Enum):
                found[name] = value.value
            if name.endswith("_token") and value is not None:
                found[name] = f"<{name.upper()}>"
        found["report_to"] = [str(getattr(each, "name", each)) for each in self.report_to]
        return found

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2, default=str)

    def to_sanitized_dict(self) -> dict[str, Any]:
        """Numbers, truth values and text alone, for trackers."""
        found = {**self.to_dict(), "train_batch_size": self.train_batch_size, "eval_batch_size": self.eval_batch_size}
        return {name: value if type(value) in (bool, int, float, str) else str(value) for name, value in found.items()}

    def copy_with(self, **changes: Any) -> Self:
        """A copy with some arguments changed, checked as a whole."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**(given | changes))


def _parsed(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments that are dicts may come from a command line, as JSON; paths may be paths."""
    found = dict(arguments)
    for name in ("accelerator_config", "gradient_checkpointing_kwargs", "lr_scheduler_kwargs"):
        value = found.get(name)
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                found[name] = json.loads(value)
            except ValueError as error:
                raise ConfigError(f"`{name}` is no JSON: {error}") from error
    for name in ("output_dir", "logging_dir", "resume_from_checkpoint"):
        if isinstance(found.get(name), os.PathLike):
            found[name] = os.fspath(found[name])
    if found.get("output_dir", "") is None:
        del found["output_dir"]
    return found


def _readable(owner: type[BaseModel], error: ValidationError) -> ConfigError:
    """The first trouble as one sentence: what was given, what is allowed."""
    trouble = error.errors()[0]
    name = str(trouble["loc"][0]) if trouble["loc"] else owner.__name__
    given = trouble.get("input")
    hint = ""
    if trouble["type"] in ("enum", "literal_error") and isinstance(given, str):
        allowed = str(trouble.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        hint = did_you_mean(given, allowed)
    return ConfigError(f"`{name}` is {given!r}: {trouble['msg'][:1].lower()}{trouble['msg'][1:]}.{hint}", argument=name)
