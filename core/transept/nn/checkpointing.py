"""Layers whose activations may be recomputed in the backward pass instead of being kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial, wraps
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from ..cache import DynamicCache
from ..errors import InputError

__all__ = ["CheckpointedLayer", "cache_for"]


class CheckpointedLayer(nn.Module):
    """Base of a model's repeated layer: its `forward` can be checkpointed (https://arxiv.org/abs/1604.06174).

    Off until `set_gradient_checkpointing`; then in force while training. Hidden states come as the first positional argument,
    everything else as keywords. It is `forward` that is recomputed, not the call of the module: hooks (FSDP's among them) run
    once.
    """

    gradient_checkpointing = False
    _checkpoint_arguments: Mapping[str, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" not in cls.__dict__:
            return
        forward = cls.forward

        @wraps(forward)
        def recomputed(self: CheckpointedLayer, *args: Any, **kwargs: Any) -> Any:
            # a subclass's forward that calls this one through super() is checkpointed already
            wanted = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
            if wanted and type(self).forward is recomputed:
                if not self._checkpoint_arguments["use_reentrant"]:
                    return checkpoint(partial(forward, self, **kwargs), *args, **self._checkpoint_arguments)
                # that kind leads gradients to positional tensors alone: those of masks and encoders become such
                leaves, spec = tree_flatten(kwargs)

                def unflattened(*flat: Any) -> Any:
                    return forward(self, *flat[: len(args)], **tree_unflatten(flat[len(args) :], spec))

                return checkpoint(unflattened, *args, *leaves, **self._checkpoint_arguments)
            return forward(self, *args, **kwargs)

        cls.forward = recomputed

    def set_gradient_checkpointing(self, arguments: Mapping[str, Any] | None) -> None:
        """Recompute with these arguments of `torch.utils.checkpoint.checkpoint`; None: keep activations."""
        self.gradient_checkpointing = arguments is not None
        self._checkpoint_arguments = {"use_reentrant": False, **(arguments or {})}


def cache_for(model: Any, use_cache: bool | None, past_key_values: Any) -> Any:
    """The cache of a decoder's forward pass: the one given, a new one where `use_cache` (or the config's) says so, or None.

    While training with gradient checkpointing there is none: a layer that runs twice would write its keys twice.

    Raises:
        InputError: the cache given is none, or holds tokens that checkpointing would have to drop.
    """
    if past_key_values is not None and not hasattr(past_key_values, "get_seq_length"):
        raise InputError(
            f"`past_key_values` is a `{type(past_key_values).__name__}`: give a cache, such as `transept.DynamicCache()`."
        )
    if use_cache is None:
        # a graph that is exported has a cache among its outputs only where that was asked for
        use_cache = model.config.use_cache and not (torch.compiler.is_exporting() or torch.jit.is_tracing())
    if (use_cache or past_key_values is not None) and model.training and torch.is_grad_enabled() and _is_checkpointed(model):
        if past_key_values is not None and past_key_values.get_seq_length() > 0:
            raise InputError(
                "`past_key_values` holds tokens, and training with gradient checkpointing cannot use a cache: "
                "call `gradient_checkpointing_disable()`, or leave the cache out."
            )
        warnings.warn(
            "`use_cache=True` does not go with gradient checkpointing: this model trains without a cache.", stacklevel=3
        )
        return None
    if past_key_values is None and use_cache:
        config = model.config
        if torch.compiler.is_compiling():
            config = _TraceableConfig(vars(config))
        return DynamicCache(config=config)
    return past_key_values


class _TraceableConfig:
    """What a cache reads of a configuration: asking a pydantic model for an attribute that it lacks cannot be traced."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.num_hidden_layers = fields.get("num_hidden_layers")
        self.layer_types = fields.get("layer_types")
        self.sliding_window = fields.get("sliding_window")


def _is_checkpointed(model: nn.Module) -> bool:
    return any(isinstance(module, CheckpointedLayer) and module.gradient_checkpointing for module in model.modules())
