"""Which tensor of a checkpoint fills which slot of a model: prefixes, ties, rewrites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..rewrite import AppliedRewrite, local_tensors, ties_after
from .key_map import ConversionGraph, Convert
from .reader import TensorRef

__all__ = ["align_prefix", "join_rewrites", "prefix_hint", "settle_ties", "shared_names"]


def align_prefix(graph: ConversionGraph, wanted: Iterable[str], prefix: str) -> None:
    """Add or take away the base model's prefix, name by name, where that makes a name of the model's.

    So a base model reads a task model's checkpoint, and the reverse.
    """
    known = set(wanted)
    dot = f"{prefix}." if prefix else ""
    steps: list[tuple[list[str], list[str], Convert]] = []
    for name in graph if dot else ():
        if name in known:
            continue
        other = name.removeprefix(dot) if name.startswith(dot) else dot + name
        if other in known:
            steps.append(([name], [other], list))
    graph.join(steps, changes=False)


def prefix_hint(names: Iterable[str], wanted: Iterable[str]) -> str:
    """A sentence for a checkpoint whose names only fit without their first segments, with a leading space, or nothing."""
    known, found = set(wanted), list(names)
    starts = Counter(name[: name.index(".") + 1] for name in found if "." in name)
    for start, count in starts.most_common(1):
        fitting = sum(name.removeprefix(start) in known for name in found if name.startswith(start))
        if fitting * 2 > count:
            return f' The names fit without `{start}`: pass `key_map=KeyMap([Rename("{start}*", "*")])`.'
    ends = Counter(name[: name.index(".") + 1] for name in known if "." in name)
    for start, count in ends.most_common(1):
        fitting = sum(start + name in known for name in found)
        if fitting * 2 > count:
            return f' The names fit with `{start}` before them: pass `key_map=KeyMap([Rename("*", "{start}*")])`.'
    return ""


def shared_names(model: nn.Module) -> dict[str, str]:
    """Names of parameters that are one object in the model already: each later name to the first."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        origin = first.setdefault(id(parameter), name)
        if origin != name:
            found[name] = origin
    return found


def settle_ties(
    graph: ConversionGraph, ties: Mapping[str, str], tensors: Mapping[str, TensorRef], model: nn.Module
) -> dict[str, str]:
    """The declared ties that the checkpoint agrees with; afterwards the graph yields each tied tensor once, as the source.

    A checkpoint may hold either name. One that holds both with different values unties them, through `model.untie(target)`.

    Raises:
        CheckpointError: both are there, differ, and the model cannot untie.
    """
    kept: dict[str, str] = {}
    for target, declared in ties.items():
        source = declared
        while source in ties and ties[source] != target:
            source = ties[source]
        if target in graph and source not in graph:
            graph.join([([target], [source], list)], changes=False)
        elif target in graph and not _equal(graph, target, source, tensors):
            untie: Any = getattr(model, "untie", None)
            if untie is None:
                raise CheckpointError(
                    f"The configuration ties `{target}` to `{source}`, and the checkpoint holds two different tensors: pass "
                    "`tie_word_embeddings=False` to keep both.",
                    name=target,
                )
            untie(target)
            continue
        elif target in graph:
            graph.join([([target], [], _nothing)])
        kept[target] = source
    return kept


def _equal(graph: ConversionGraph, one: str, other: str, tensors: Mapping[str, TensorRef]) -> bool:
    values = []
    for name in (one, other):
        origin = graph.origin(name)
        made = origin.convert([tensors[source].read() for source in origin.sources])
        values.append(made[origin.targets.index(name)])
    return torch.equal(*values)


def _nothing(_: Sequence[Tensor]) -> list[Tensor]:
    return []


def join_rewrites(
    graph: ConversionGraph,
    model: nn.Module,
    applied: Sequence[AppliedRewrite],
    ties: Mapping[str, str],
    tensors: Mapping[str, TensorRef],
    prepare: Any,
) -> tuple[dict[str, str], set[str], list[str]]:
    """Lead the tensors that rewrites take through their `convert`.

    `prepare(name, tensor)` brings a tensor to the dtype and device it is converted in. A checkpoint that holds what the rewrite
    gives (saved after it) passes as it is.

    Returns:
        The ties that remain, the names that rewrites fill, and the original names that are missing.
    """
    remaining = ties_after(ties, applied)
    made: set[str] = set()
    missing: list[str] = []
    for target, source in ties.items():
        if target not in remaining and source in graph and not _follows(target, applied, remaining):
            origin = graph.origin(source)
            copy = partial(_pick, convert=origin.convert, index=origin.targets.index(source))
            graph.add_copy(origin.sources, target, copy, changes=origin.changes)
    for one in applied:
        sources, targets = one.full(one.sources), one.full(one.targets)
        made.update(targets)
        if targets and all(name in remaining for name in targets):
            continue
        absent = [name for name in sources if name not in graph]
        if _holds_converted(graph, model, one, tensors):
            continue
        if absent:
            missing += absent
        else:
            step = partial(_rewrite, one=one, built=model.get_submodule(one.path), names=sources, prepare=prepare)
            graph.join([(sources, targets, step)])
    return remaining, made, missing


def _holds_converted(graph: ConversionGraph, model: nn.Module, one: AppliedRewrite, tensors: Mapping[str, TensorRef]) -> bool:
    """Whether the checkpoint holds what the rewrite would make: it was saved after it."""
    if not all(name in graph for name in one.full(one.targets)):
        return False
    if not all(name in graph for name in one.full(one.sources)):
        return True
    built, original = local_tensors(model.get_submodule(one.path)), local_tensors(one.original)

    def stored_like(slots: Mapping[str, Tensor], names: Sequence[str]) -> bool:
        origins = [graph.origin(name) for name in one.full(names)]
        refs = [tensors[origin.sources[0]] if not origin.changes else None for origin in origins]
        return all(
            ref is not None and tuple(ref.shape) == tuple(slots[name].shape) and _same_kind(ref.dtype, slots[name].dtype)
            for name, ref in zip(names, refs, strict=True)
        )

    return stored_like(built, one.targets) and not stored_like(original, one.sources)


def _same_kind(stored: torch.dtype | None, wanted: torch.dtype) -> bool:
    return stored == wanted or (stored is not None and stored.is_floating_point and wanted.is_floating_point)


def _follows(target: str, applied: Sequence[AppliedRewrite], remaining: Mapping[str, str]) -> bool:
    """Whether a tied target was converted together with its source, and is tied under its new names."""
    return any(
        target in one.full(one.sources) and set(one.full(one.targets)) <= set(remaining) for one in applied if one.targets
    )


def _pick(tensors: list[Tensor], *, convert: Convert, index: int) -> list[Tensor]:
    return [convert(tensors)[index]]


def _rewrite(tensors: list[Tensor], *, one: AppliedRewrite, built: nn.Module, names: list[str], prepare: Any) -> list[Tensor]:
    ready = [prepare(name, tensor) for name, tensor in zip(names, tensors, strict=True)]
    tensors.clear()
    return one.convert(ready, built)
