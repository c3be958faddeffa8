"""Which tensor of a checkpoint fills which slot of a model: prefixes, ties, rewrites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..rewrite import AppliedRewrite, local_tensors, ties_after
from .key_map import Conversion, ConversionGraph, Convert, KeyMap
from .reader import CheckpointReader, TensorRef

__all__ = [
    "align_prefix",
    "all_ties",
    "called",
    "claim_packed",
    "destinations",
    "join_rewrites",
    "new_layers",
    "prefix_hint",
    "settle_ties",
]


def align_prefix(graph: ConversionGraph, wanted: Iterable[str], model: nn.Module) -> None:
    """Swap, add or take away base-model prefixes, name by name, where that makes a name of the model's.

    So a base model reads a task model's checkpoint and the reverse, and a task model whose prefix is not the family's
    (`LlamaForQuestionAnswering` says `transformer`) reads those of its siblings.
    """
    known = set(wanted)
    dots = [f"{prefix}." for prefix in _prefixes(model)]
    steps: list[tuple[list[str], list[str], Convert]] = []
    for name in graph:
        if name in known:
            continue
        # as it is first: a base model's own parts may be called as another's prefix (DistilBERT's `transformer`)
        inner = (name, *(name.removeprefix(dot) for dot in dots if name.startswith(dot)))
        other = next((dot + each for each in inner for dot in ("", *dots) if dot + each in known), None)
        if other is not None:
            steps.append(([name], [other], list))
    graph.join(steps, changes=False)


def destinations(model: nn.Module, reader: CheckpointReader, key_map: KeyMap | None) -> dict[str, str]:
    """For each tensor of the checkpoint that becomes one of the model's alone, with its rows at most in another order: its name."""
    graph = (key_map or KeyMap()).graph(reader.tensors)
    wanted = local_tensors(model)
    align_prefix(graph, wanted, model)
    alone = [one for one in graph.conversions() if len(one.sources) == len(one.targets) == 1 and one.targets[0] in wanted]
    return {one.sources[0]: one.targets[0] for one in alone if _keeps_rows(one, reader.tensors[one.sources[0]].shape)}


def _keeps_rows(conversion: Conversion, shape: tuple[int, ...]) -> bool:
    """Whether it leaves a matrix as it is, but for the order of its rows: then it may as well move packed ones."""
    if not conversion.changes or len(shape) != 2:
        return not conversion.changes
    rows = torch.arange(shape[0])
    try:
        (made,) = conversion.convert([torch.stack((rows, rows + len(rows)), 1)])
    except (RuntimeError, ValueError, IndexError):  # it looks at the columns
        return False
    kept = made.shape == (len(rows), 2) and torch.equal(made[:, 1], made[:, 0] + len(rows))
    return kept and torch.equal(made[:, 0].sort()[0], rows)


def prefix_hint(names: Iterable[str], wanted: Iterable[str]) -> str:
    """A sentence for a checkpoint whose names only fit without their first segments, with a leading space, or nothing."""
    found, known = set(names), set(wanted)
    if start := _superfluous_start(found, known):
        return f' The names fit without `{start}`: pass `key_map=KeyMap([Rename("{start}*", "*")])`.'
    if start := _superfluous_start(known, found):
        return f' The names fit with `{start}` before them: pass `key_map=KeyMap([Rename("*", "{start}*")])`.'
    return ""


def _superfluous_start(names: set[str], others: set[str]) -> str:
    """The commonest first segment and its dot, if most names that have it are among the others without it."""
    starts = Counter(name[: name.index(".") + 1] for name in names if "." in name)
    for start, count in starts.most_common(1):
        if 2 * sum(name.removeprefix(start) in others for name in names if name.startswith(start)) > count:
            return start
    return ""


def all_ties(model: nn.Module) -> dict[str, str]:
    """Declared ties, and those of parameters that are one object in the model already: each name to the one that is loaded."""
    ties: dict[str, str] = {}

    def root(name: str) -> str:
        while name in ties:
            name = ties[name]
        return name

    first: dict[int, str] = {}
    shared = [(name, first.setdefault(id(one), name)) for name, one in model.named_parameters(remove_duplicate=False)]
    for target, source in (*getattr(model, "tied_weights", {}).items(), *shared):
        here, there = root(target), root(source)
        if here != there:
            ties[here] = there
    return {target: root(target) for target in ties}


def settle_ties(
    graph: ConversionGraph, ties: Mapping[str, str], tensors: Mapping[str, TensorRef], model: nn.Module
) -> dict[str, str]:
    """The declared ties that the checkpoint agrees with; afterwards the graph yields each tied tensor once, as the source.

    A checkpoint may hold either name. One that holds both with different values unties them, through `model.untie(target)`.

    Raises:
        CheckpointError: both are there, differ, and the model cannot untie.
    """
    kept: dict[str, str] = {}
    for target, source in ties.items():
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
            graph.join([([target], [], lambda _: [])])
        kept[target] = source
    return kept


def _equal(graph: ConversionGraph, one: str, other: str, tensors: Mapping[str, TensorRef]) -> bool:
    values = []
    for name in (one, other):
        origin = graph.origin(name)
        made = origin.convert([tensors[source].read() for source in origin.sources])
        values.append(made[origin.targets.index(name)])
    return torch.equal(*values)


def claim_packed(
    model: nn.Module, applied: Sequence[AppliedRewrite], tensors: Mapping[str, TensorRef]
) -> dict[str, tuple[str, AppliedRewrite]]:
    """The checkpoint's tensors that a rewrite packed before they were saved: each with its name in the model, and that rewrite.

    They stand under the model's own names and layouts, so no key map is for them; only the base model's prefix may differ.
    """
    dots = [f"{prefix}." for prefix in _prefixes(model)]
    packing = [one for one in applied if one.rewrite.packs]
    by_module = _by_module(tensors, {path for one in packing for path in _variants(one.path, dots)})
    claims: dict[str, tuple[str, AppliedRewrite]] = {}
    for one in packing:
        held = local_tensors(model.get_submodule(one.path))
        slots = {name: held[name] for name in one.targets}
        for path in _variants(one.path, dots):
            found = one.rewrite.stored_names(by_module[path], slots) if path in by_module else ()
            claims.update({f"{path}.{name}": (f"{one.path}.{name}", one) for name in found})
            if found:
                break
    return claims


def called(model: nn.Module, tensors: Mapping[str, TensorRef]) -> dict[str, TensorRef]:
    """The checkpoint's tensors, each also under the names that it has with and without the base model's prefix."""
    dots = [f"{prefix}." for prefix in _prefixes(model)]
    return {variant: ref for name, ref in tensors.items() for variant in _variants(name, dots)}


def new_layers(model: nn.Module, found: Iterable[str], tensors: Mapping[str, TensorRef], key_map: KeyMap) -> frozenset[str]:
    """Paths of modules of `model.new_on_load` below which the checkpoint has nothing, packed or not: they start anew."""
    new = tuple(getattr(model, "new_on_load", ()))
    paths = {path for path, _ in model.named_modules() if any(fnmatchcase(f"{path}.weight", pattern) for pattern in new)}
    graph = key_map.graph(name for name, ref in tensors.items() if ref.dtype is None or ref.dtype.is_floating_point)
    align_prefix(graph, local_tensors(model), model)
    return frozenset(paths.difference(*(accumulate(name.split("."), "{}.{}".format) for name in (*found, *graph))))


def _by_module(tensors: Mapping[str, TensorRef], paths: Container[str]) -> dict[str, dict[str, TensorRef]]:
    """For each of these paths, the checkpoint's tensors below it by local name."""
    found: dict[str, dict[str, TensorRef]] = {}
    for name, ref in tensors.items():
        parts = name.split(".")
        for cut in range(1, len(parts)):
            path = ".".join(parts[:cut])
            if path in paths:
                found.setdefault(path, {})[".".join(parts[cut:])] = ref
    return found


def _variants(path: str, dots: Iterable[str]) -> list[str]:
    """The path as siblings of the model may say it: with and without the base model's prefix."""
    return list(dict.fromkeys([path, *(path.removeprefix(dot) for dot in dots), *(dot + path for dot in dots)]))


def _prefixes(model: nn.Module) -> list[str]:
    prefixes = [vars(base).get("base_model_prefix", "") for base in type(model).__mro__]
    prefixes = [getattr(model, "base_model_prefix", ""), *prefixes, *getattr(model, "_other_base_prefixes", ())]
    return [prefix for prefix in dict.fromkeys(prefixes) if prefix]


def join_rewrites(
    graph: ConversionGraph,
    model: nn.Module,
    applied: Sequence[AppliedRewrite],
    ties: Mapping[str, str],
    tensors: Mapping[str, TensorRef],
    prepare: Any,
    claims: Mapping[str, tuple[str, AppliedRewrite]],
) -> tuple[dict[str, str], set[str], list[str]]:
    """Lead the tensors that rewrites take through their `convert`.

    `prepare(name, tensor)` brings a tensor to the dtype and device it is converted in. A checkpoint that holds what the rewrite
    gives (saved after it) passes as it is, or, where `claims` has names of its own for it, through `restore`.

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
            graph.add(Conversion(origin.sources, (target,), copy, origin.changes))
    claimed: dict[int, list[str]] = {}
    for name, one in claims.values():
        claimed.setdefault(id(one), []).append(name)
    for one in applied:
        sources, targets = one.full(one.sources), one.full(one.targets)
        made.update(targets)
        if id(one) in claimed and not (targets and remaining.keys() >= set(targets)):
            graph.join([(claimed[id(one)], targets, _Restore(one, model.get_submodule(one.path), claimed[id(one)], prepare))])
            continue
        if (targets and remaining.keys() >= set(targets)) or _holds_converted(graph, model, one, tensors):
            continue
        absent = [name for name in sources if name not in graph]
        missing += absent
        if not absent:
            step = partial(_rewrite, one=one, built=model.get_submodule(one.path), names=sources, prepare=prepare)
            graph.join([(sources, targets, step)])
    return remaining, made, missing


def _holds_converted(graph: ConversionGraph, model: nn.Module, one: AppliedRewrite, tensors: Mapping[str, TensorRef]) -> bool:
    """Whether the checkpoint holds what the rewrite would make: it was saved after it."""
    if any(name not in graph for name in one.full(one.targets)):
        return False
    if any(name not in graph for name in one.full(one.sources)):
        return True
    built, original = local_tensors(model.get_submodule(one.path)), local_tensors(one.original)

    def stored_like(slots: Mapping[str, Tensor], names: Sequence[str]) -> bool:
        origins = [graph.origin(name) for name in one.full(names)]
        return all(
            not origin.changes and _alike(tensors[origin.sources[0]], slots[name])
            for name, origin in zip(names, origins, strict=True)
        )

    return stored_like(built, one.targets) and not stored_like(original, one.sources)


def _alike(ref: TensorRef, slot: Tensor) -> bool:
    floating = ref.dtype is not None and ref.dtype.is_floating_point and slot.is_floating_point()
    return tuple(ref.shape) == tuple(slot.shape) and (floating or ref.dtype == slot.dtype)


def _follows(target: str, applied: Sequence[AppliedRewrite], remaining: Mapping[str, str]) -> bool:
    """Whether a tied target was converted together with its source, and is tied under its new names."""
    return any(
        target in one.full(one.sources) and set(one.full(one.targets)) <= set(remaining) for one in applied if one.targets
    )


def _pick(tensors: list[Tensor], *, convert: Convert, index: int) -> list[Tensor]:
    return [convert(tensors)[index]]


@dataclass
class _Restore:
    """Leads a packed module's stored tensors through `restore`."""

    one: AppliedRewrite
    built: nn.Module
    names: list[str]
    prepare: Any

    def __call__(self, tensors: list[Tensor]) -> list[Tensor]:
        ready = [self.prepare(name, tensor, cast=False) for name, tensor in zip(self.names, tensors, strict=True)]
        local = tuple(name.removeprefix(f"{self.one.path}.") for name in self.names)
        return self.one.restore(ready, self.built, local)


def _rewrite(tensors: list[Tensor], *, one: AppliedRewrite, built: nn.Module, names: list[str], prepare: Any) -> list[Tensor]:
    ready = [prepare(name, tensor) for name, tensor in zip(names, tensors, strict=True)]
    tensors.clear()
    return one.convert(ready, built)
