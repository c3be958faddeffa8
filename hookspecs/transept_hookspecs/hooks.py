"""The hook specifications: what a plugin module may implement.

A plugin is a module named by an entry point in one of the groups ``transept.<kind>``. The entry point's name is the key;
the module implements the hook of that kind and returns the records that it offers. Hooks that announce an event
(`config_created`, `model_loaded`, …) are called on every observer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from .records import (
    AdapterSpec,
    AttentionKernelSpec,
    CacheSpec,
    CheckpointFormatSpec,
    CommandSpec,
    ConfigSpec,
    DecodingSpec,
    ExporterSpec,
    MetricSpec,
    ModelSpec,
    OptimizerSpec,
    PipelineSpec,
    PlacementSpec,
    ProcessorSpec,
    QuantizerSpec,
    Record,
    RewriteSpec,
    SchedulerSpec,
    SourceSpec,
    TokenizerSpec,
)

__all__ = ["EVENT_HOOKS", "PROJECT", "RECORD_KINDS", "hookimpl", "hookspec"]

PROJECT = "transept"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def provide_configs() -> Iterable[ConfigSpec]:  # type: ignore[empty-body]
    """Offer configuration classes, by `model_type`."""


@hookspec
def provide_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Offer architectures, by `model_type`."""


@hookspec
def provide_tokenizers() -> Iterable[TokenizerSpec]:  # type: ignore[empty-body]
    """Offer tokenizers, by `tokenizer_class`."""


@hookspec
def provide_attention() -> Iterable[AttentionKernelSpec]:  # type: ignore[empty-body]
    """Offer attention kernels, by the name in `attn_implementation`."""


@hookspec
def provide_quantizers() -> Iterable[QuantizerSpec]:  # type: ignore[empty-body]
    """Offer quantization methods, by `quant_method`."""


@hookspec
def provide_adapters() -> Iterable[AdapterSpec]:  # type: ignore[empty-body]
    """Offer a library of adapters, by its name."""


@hookspec
def provide_checkpoints() -> Iterable[CheckpointFormatSpec]:  # type: ignore[empty-body]
    """Offer checkpoint formats, by the format's name."""


@hookspec
def provide_sources() -> Iterable[SourceSpec]:  # type: ignore[empty-body]
    """Offer places that checkpoints come from."""


@hookspec
def provide_rewrites() -> Iterable[RewriteSpec]:  # type: ignore[empty-body]
    """Offer changes of modules: fusing, packing, sharding."""


@hookspec
def provide_caches() -> Iterable[CacheSpec]:  # type: ignore[empty-body]
    """Offer key/value caches, by the name in `cache_implementation`."""


@hookspec
def provide_decoding() -> Iterable[DecodingSpec]:  # type: ignore[empty-body]
    """Offer decoding strategies."""


@hookspec
def provide_pipelines() -> Iterable[PipelineSpec]:  # type: ignore[empty-body]
    """Offer tasks for `pipeline`."""


@hookspec
def provide_processors() -> Iterable[ProcessorSpec]:  # type: ignore[empty-body]
    """Offer feature extractors, image processors and processors."""


@hookspec
def provide_optimizers() -> Iterable[OptimizerSpec]:  # type: ignore[empty-body]
    """Offer optimizers, by name."""


@hookspec
def provide_schedulers() -> Iterable[SchedulerSpec]:  # type: ignore[empty-body]
    """Offer learning-rate schedules, by name."""


@hookspec
def provide_metrics() -> Iterable[MetricSpec]:  # type: ignore[empty-body]
    """Offer metrics, by name."""


@hookspec
def provide_exporters() -> Iterable[ExporterSpec]:  # type: ignore[empty-body]
    """Offer export formats."""


@hookspec
def provide_placements() -> Iterable[PlacementSpec]:  # type: ignore[empty-body]
    """Offer ways to spread a model over devices."""


@hookspec
def provide_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Offer subcommands of the command line."""


@hookspec
def config_created(config: Any) -> None:
    """Hear of a configuration that was made from a checkpoint."""


@hookspec
def model_loaded(model: Any, report: Any) -> None:
    """Hear of a model that was loaded, with the report of what was read."""


@hookspec
def model_saved(model: Any, folder: str) -> None:
    """Hear of a model that was saved."""


@hookspec
def generation_started(model: Any, input_length: int, batch_size: int) -> None:
    """Hear that `generate` begins."""


@hookspec
def generation_step(model: Any, step: int) -> None:
    """Hear of each forward pass that `generate` makes."""


@hookspec
def generation_finished(model: Any, new_tokens: int, seconds: float) -> None:
    """Hear that `generate` ended."""


@hookspec
def training_event(trainer: Any, event: str, state: Any) -> None:
    """Hear of the trainer's events: `on_step_end`, `on_log`, …"""


RECORD_KINDS: dict[str, type[Record]] = {
    "configs": ConfigSpec,
    "models": ModelSpec,
    "tokenizers": TokenizerSpec,
    "attention": AttentionKernelSpec,
    "quantizers": QuantizerSpec,
    "adapters": AdapterSpec,
    "checkpoints": CheckpointFormatSpec,
    "sources": SourceSpec,
    "rewrites": RewriteSpec,
    "caches": CacheSpec,
    "decoding": DecodingSpec,
    "pipelines": PipelineSpec,
    "processors": ProcessorSpec,
    "optimizers": OptimizerSpec,
    "schedulers": SchedulerSpec,
    "metrics": MetricSpec,
    "exporters": ExporterSpec,
    "placements": PlacementSpec,
    "commands": CommandSpec,
}
"""Each kind that is looked up by key: its entry points are in the group ``transept.<kind>``, its hook is ``provide_<kind>``."""

EVENT_HOOKS = (
    "config_created",
    "model_loaded",
    "model_saved",
    "generation_started",
    "generation_step",
    "generation_finished",
    "training_event",
)
"""Hooks of the kind ``observers``: every installed observer is called."""
