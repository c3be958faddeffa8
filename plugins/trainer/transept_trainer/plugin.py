"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import CommandSpec, OptimizerSpec, SchedulerSpec, hookimpl

_OPTIMIZERS = {
    "adamw_torch": "torch's AdamW",
    "adamw_torch_fused": "torch's AdamW with its fused kernel",
    "adafactor": "factored second moments (https://arxiv.org/abs/1804.04235), with a learning rate from outside",
    "sgd": "stochastic gradient descent, with momentum by `optim_args`",
    "adagrad": "torch's Adagrad",
    "rmsprop": "torch's RMSprop",
}

_SCHEDULERS = {
    "linear": "warmup, then down to zero in a straight line",
    "cosine": "warmup, then down to zero along a half cosine",
    "cosine_with_restarts": "warmup, then several half cosines, each from the top",
    "polynomial": "warmup, then down to `lr_end` along a power",
    "constant": "one rate",
    "constant_with_warmup": "warmup, then one rate",
    "inverse_sqrt": "warmup, then one over the root of the step",
    "reduce_lr_on_plateau": "down by a factor when the evaluated metric stands still",
    "cosine_with_min_lr": "warmup, then down to a least rate along a half cosine",
    "cosine_warmup_with_min_lr": "the same, with a warmup that does not begin at zero",
    "warmup_stable_decay": "warmup, one rate, then decay (https://arxiv.org/abs/2404.06395)",
    "greedy": "up while the evaluated metric improves, down while it does not (https://arxiv.org/abs/2512.14527)",
}


@hookimpl
def provide_optimizers() -> Iterable[OptimizerSpec]:
    return [
        OptimizerSpec(key=key, optimizer=f"transept_trainer.optimizers:{key}", description=text)
        for key, text in _OPTIMIZERS.items()
    ]


@hookimpl
def provide_schedulers() -> Iterable[SchedulerSpec]:
    return [
        SchedulerSpec(key=key, scheduler=f"transept_trainer.schedules:{key}", description=text)
        for key, text in _SCHEDULERS.items()
    ]


@hookimpl
def provide_commands() -> Iterable[CommandSpec]:
    text = "Train as a YAML file says; --dry-run prints the plan: steps, memory, kernels, rewrites."
    return [CommandSpec(key="train", command="transept_trainer.command:train", help=text)]
