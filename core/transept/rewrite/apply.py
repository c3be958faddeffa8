"""Applying a rewrite, to a model on `meta` or to a live one, and taking it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RewriteError, shorten
from .rewrite import AppliedRewrite, Rewrite
from .tensors import local_tensors, own_storage, set_tensor
from .ties import check_ties, ties_after

__all__ = ["applied_to", "apply_live", "apply_rewrites", "undo"]

Convert = Callable[[list[Tensor]], list[Tensor]]


def apply_rewrites(model: nn.Module, rewrites: Iterable[Rewrite]) -> list[AppliedRewrite]:
    """Replace modules of a model on `meta`, before its tensors come, and record that on the model.

    Raises:
        RewriteError: a rewrite selects nothing, or what it may not change.
    """
    made: list[AppliedRewrite] = []
    for rewrite in sorted(rewrites, key=lambda one: one.order):
        step = [_prepare(rewrite, path, module) for path, module in _selected(model, rewrite)]
        check_ties(rewrite, [applied for applied, _ in step], _ties(model))
        for applied, built in step:
            model.set_submodule(applied.path, built, strict=True)
            made.append(applied)
            applied_to(model).append(applied)
    return made


def apply_live(model: nn.Module, rewrite: Rewrite) -> list[AppliedRewrite]:
    """Replace modules of a model that holds its tensors, one after another; what was converted is freed at once.

    An optimizer made before holds the old parameters: make it after.

    Raises:
        RewriteError: as `apply_rewrites`, or tensors are on `meta`; what was done before is undone where it can be.
    """
    with _lifted(model, lambda applied: applied.rewrite.order > rewrite.order):
        return _apply(model, rewrite)


def _apply(model: nn.Module, rewrite: Rewrite) -> list[AppliedRewrite]:
    ties = _ties(model)
    step = [_prepare(rewrite, path, module) for path, module in _selected(model, rewrite)]
    check_ties(rewrite, [applied for applied, _ in step], ties)
    done: list[AppliedRewrite] = []
    try:
        for applied, built in step:
            _fill(applied.original, built, applied.sources, applied.targets, partial(applied.convert, built=built))
            model.set_submodule(applied.path, built, strict=True)
            applied_to(model).append(applied)
            done.append(applied)
    except BaseException:
        if rewrite.undoable:
            _undo(model, done)
        raise
    _tie(model, ties_after(ties, done), {name for applied in done for name in applied.full(applied.targets)})
    return done


def undo(model: nn.Module, key: str) -> None:
    """Take a rewrite back everywhere: the original modules, names and tensors return.

    Raises:
        RewriteError: it was not applied, cannot be reverted, or something else was built upon it.
    """
    order = max((applied.rewrite.order for applied in applied_to(model) if applied.key == key), default=None)
    with _lifted(model, lambda applied: order is not None and applied.rewrite.order > order):
        _undo_all(model, key)


@contextmanager
def _lifted(model: nn.Module, above: Callable[[AppliedRewrite], bool]) -> Iterator[None]:
    """Take optional rewrites off while something changes below them, then put them back where they still fit."""
    off = {applied.key: applied.rewrite for applied in applied_to(model) if applied.rewrite.optional and above(applied)}
    for key in off:
        _undo_all(model, key)
    try:
        yield
    finally:
        for rewrite in off.values():
            _apply(model, rewrite)


def _undo_all(model: nn.Module, key: str) -> None:
    record = applied_to(model)
    mine = [applied for applied in record if applied.key == key]
    if not mine:
        there = shorten(sorted({applied.key for applied in record})) or "none"
        raise RewriteError(f"Rewrite `{key}` is not applied here; applied are: {there}.", key=key)
    for applied in reversed(mine):
        later = record[record.index(applied) + 1 :]
        above = next((a for a in later if a.key != key and f"{a.path}.".startswith(f"{applied.path}.")), None)
        if not applied.rewrite.undoable or above is not None:
            reason = "it loses information" if above is None else f"`{above.key}` was applied over it; undo that first"
            raise RewriteError(f"Rewrite `{key}` at `{applied.path}` cannot be undone: {reason}.", key=key, path=applied.path)
    _undo(model, mine)


def applied_to(model: nn.Module) -> list[AppliedRewrite]:
    """The rewrites that are in force on a model, in the order they were applied; the list itself."""
    record: list[AppliedRewrite] | None = getattr(model, "applied_rewrites", None)
    if record is None:
        record = []
        model.applied_rewrites = record  # type: ignore[assignment]
    return record


def _ties(model: nn.Module) -> dict[str, str]:
    return dict(getattr(model, "tied_weights", {}))


def _selected(model: nn.Module, rewrite: Rewrite) -> list[tuple[str, nn.Module]]:
    """Modules that the rewrite selects, outermost first."""
    rewrite.prepare(model)
    found = list(_walk(model, "", rewrite))
    if not found and not rewrite.optional:
        what = f"no module of `{type(model).__name__}`: it does not fit this architecture, or was applied before"
        raise RewriteError(f"Rewrite `{rewrite.key}` selects {what}.", key=rewrite.key)
    modules = [module for _, module in found]
    for path, module in found:
        parts = module.named_modules(prefix=path)
        hooked = next((name for name, part in parts if part._forward_hooks or part._forward_pre_hooks), None)
        shared = sum(module is other for other in modules) > 1
        if not path or shared or hooked is not None:
            reason = "it is the model itself" if not path else "it stands in two places" if shared else f"`{hooked}` has a hook"
            what = f"cannot replace `{path or type(module).__name__}`: {reason}"
            raise RewriteError(f"Rewrite `{rewrite.key}` {what}.", key=rewrite.key, path=path)
    return found


def _walk(module: nn.Module, path: str, rewrite: Rewrite) -> Iterator[tuple[str, nn.Module]]:
    if path not in rewrite.leaves and rewrite.select(path, module):
        yield path, module
        return
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, f"{path}.{name}" if path else name, rewrite)


def _prepare(rewrite: Rewrite, path: str, module: nn.Module) -> tuple[AppliedRewrite, nn.Module]:
    with torch.device("meta"):
        built = rewrite.build(module, path)
    held = local_tensors(module)
    sources = rewrite.sources(module, built)
    kept = set(held).difference(sources)
    targets = tuple(name for name in local_tensors(built) if name not in kept)
    lost = [name for name in kept if name not in local_tensors(built)]
    if lost:
        raise RewriteError(f"Rewrite `{rewrite.key}` at `{path}` would lose {shorten(lost)}.", key=rewrite.key, path=path)
    trainable = any(held[name].requires_grad for name in sources)
    for name, tensor in local_tensors(built).items():
        if name in targets and isinstance(tensor, nn.Parameter) and tensor.is_floating_point():
            tensor.requires_grad_(trainable)
    built.train(module.training)
    return AppliedRewrite(rewrite.key, path, rewrite.why, rewrite, module, sources, targets), built


def _fill(old: nn.Module, new: nn.Module, taken: tuple[str, ...], given: tuple[str, ...], change: Convert) -> None:
    """Move everything that `old` holds to `new`: converted where it is taken, as it is elsewhere."""
    held, slots = local_tensors(old), local_tensors(new)
    absent = [name for name in taken if name not in held or held[name].is_meta]
    if absent:
        raise RewriteError(f"{shorten(absent)} are not in memory: they were offloaded, or changed since (an adapter?).")
    for name, tensor in zip(given, change([held[name].detach() for name in taken]), strict=True):
        set_tensor(new, name, own_storage(tensor))
    for name in slots.keys() - set(given):
        if slots[name] is not held[name]:
            set_tensor(new, name, held[name])
    _move_buffers(old, new)
    if hasattr(old, "compute_dtype") and hasattr(new, "compute_dtype"):  # packed, both: one is a faster form of the other
        new.compute_dtype = old.compute_dtype
    for name in taken:
        set_tensor(old, name, held[name].detach().to("meta"))


def _move_buffers(old: nn.Module, new: nn.Module) -> None:
    """Non-persistent buffers: those of the same name move, others are computed."""
    held = dict(old.named_buffers())
    for path, part in new.named_modules():
        for name in part._non_persistent_buffers_set:
            buffer = part._buffers[name]
            if buffer is None or not buffer.is_meta:
                continue
            known = held.get(f"{path}.{name}" if path else name)
            if known is not None and not known.is_meta:
                part._buffers[name] = known
            else:
                reset: Any = getattr(part, "reset_buffers", None)
                if reset is None:
                    raise RewriteError(f"`{type(part).__name__}` has a buffer `{name}` and no `reset_buffers(device)`.")
                reset(next((t.device for t in (*old.parameters(), *new.parameters()) if not t.is_meta), torch.device("cpu")))


def _undo(model: nn.Module, done: list[AppliedRewrite]) -> None:
    for applied in reversed(done):
        _undo_one(model, applied)
    names = {name for applied in done if applied.rewrite.ties == "keep" for name in applied.full(applied.sources)}
    _tie(model, _ties(model), names)


def _tie(model: nn.Module, ties: Mapping[str, str], names: set[str]) -> None:
    """Make these, where they are tied, one parameter again: each module was filled on its own."""
    for target, source in ties.items():
        if target in names or source in names:
            set_tensor(model, target, model.get_parameter(source))


def _undo_one(model: nn.Module, applied: AppliedRewrite) -> None:
    built = model.get_submodule(applied.path)
    original = applied.original
    held = local_tensors(built)
    trainable = any(held[name].requires_grad for name in applied.targets if name in held)
    _fill(built, original, applied.targets, applied.sources, partial(applied.revert, built=built))
    for name in applied.sources:
        tensor = local_tensors(original)[name]
        if isinstance(tensor, nn.Parameter) and tensor.is_floating_point():
            tensor.requires_grad_(trainable)
    original.train(built.training)
    model.set_submodule(applied.path, original, strict=True)
    applied_to(model).remove(applied)
