"""Optimizers as plugins: `name(params, *, lr, weight_decay, **options)`; options come from `optim_args`.

Adam's `betas` and `eps` come from `adam_beta1`, `adam_beta2` and `adam_epsilon`: the trainer gives them to whatever takes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from transept.discovery import load_object, registry
from transept.errors import ConfigError, TranseptError, UnknownArgumentError, did_you_mean

from .adafactor import Adafactor
from .by_name import record_of

if TYPE_CHECKING:
    from .arguments import TrainingArguments

__all__ = [
    "adafactor",
    "adagrad",
    "adamw_torch",
    "adamw_torch_fused",
    "decayed_names",
    "make_optimizer",
    "optimizer_and_options",
    "parameter_groups",
    "rmsprop",
    "sgd",
]

_UNDECAYED = ("bias", "layernorm", "rmsnorm")
"""Parts of names, in lower case, of parameters that are never decayed; and whole words, between dots, that end in `norm`."""


def adamw_torch(
    params: Any, *, lr: float, weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> Optimizer:
    """AdamW (https://arxiv.org/abs/1711.05101)."""
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps)


def adamw_torch_fused(
    params: Any, *, lr: float, weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> Optimizer:
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=True)


def adafactor(params: Any, *, lr: float, weight_decay: float = 0.0, **options: Any) -> Optimizer:
    """Options are those of `Adafactor`; the rate is the trainer's unless `relative_step` is asked for."""
    chosen = {"scale_parameter": False, "relative_step": False, **options}
    return Adafactor(params, lr=None if chosen["relative_step"] else lr, weight_decay=weight_decay, **chosen)


def sgd(
    params: Any,
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> Optimizer:
    return torch.optim.SGD(params, lr=lr, weight_decay=weight_decay, momentum=momentum, dampening=dampening, nesterov=nesterov)


def adagrad(params: Any, *, lr: float, weight_decay: float = 0.0, lr_decay: float = 0.0, eps: float = 1e-10) -> Optimizer:
    return torch.optim.Adagrad(params, lr=lr, weight_decay=weight_decay, lr_decay=lr_decay, eps=eps)


def rmsprop(
    params: Any,
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    alpha: float = 0.99,
    eps: float = 1e-8,
    centered: bool = False,
) -> Optimizer:
    return torch.optim.RMSprop(
        params, lr=lr, weight_decay=weight_decay, momentum=momentum, alpha=alpha, eps=eps, centered=centered
    )


def optimizer_and_options(args: TrainingArguments) -> tuple[Callable[..., Optimizer], dict[str, Any]]:
    """The plugin that `args.optim` names, and what it is called with beside the parameters."""
    key, record = record_of("optimizers", args.optim)
    make = load_object(record.optimizer, owner=registry.owner("optimizers", key))
    takes = inspect.signature(make).parameters
    options: dict[str, Any] = {"lr": args.learning_rate}
    if "betas" in takes:
        options["betas"] = (args.adam_beta1, args.adam_beta2)
        if "eps" in takes:
            options["eps"] = args.adam_epsilon
    given = args.optimizer_options()
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes.values()):
        for name in given:
            if name not in takes:
                known = [each for each in takes if each not in ("params", "lr")]
                hint = did_you_mean(name, known) or f" It takes: {', '.join(known)}."
                raise UnknownArgumentError(f"The optimizer `{args.optim}` does not take `{name}` of `optim_args`.{hint}")
    return make, options | given


def make_optimizer(args: TrainingArguments, groups: list[dict[str, Any]]) -> Optimizer:
    """Build the optimizer that `args.optim` names.

    Raises: PluginNotFoundError, UnknownArgumentError; ConfigError when the optimizer refuses what it is given.
    """
    make, options = optimizer_and_options(args)
    try:
        return make(groups, **options)
    except TranseptError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"The optimizer `{args.optim}` cannot be made with {options}: {error}") from error


def decayed_names(model: nn.Module) -> list[str]:
    """Names of the parameters that weight decay is applied to: all but biases and those of norms."""
    found = []
    for path, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            continue
        prefix = f"{path}." if path else ""
        found += [prefix + name for name, _ in module.named_parameters(recurse=False) if _decays(prefix + name)]
    return found


def _decays(name: str) -> bool:
    lower = name.lower()
    if any(part in lower for part in _UNDECAYED):
        return False
    return not any(part == "norm" or part.endswith("_norm") for part in lower.split("."))


def parameter_groups(model: nn.Module, decayed: list[str], weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: decayed, and not; each in the order of `named_parameters`."""
    names = set(decayed)
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trainable:
        raise ConfigError(f"No parameter of `{type(model).__name__}` is trainable: set `requires_grad`, or add an adapter.")
    return [
        {"params": [parameter for name, parameter in trainable if name in names], "weight_decay": weight_decay},
        {"params": [parameter for name, parameter in trainable if name not in names], "weight_decay": 0.0},
    ]
