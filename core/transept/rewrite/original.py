"""A rewritten model's tensors as they were: for saving so that anybody reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor, nn

from ..errors import RewriteError
from .apply import applied_to
from .rewrite import AppliedRewrite
from .tensors import local_tensors

__all__ = ["original_tensors", "saved_tensors"]

Lazy = Tensor | Callable[[], Tensor]


def original_tensors(model: nn.Module) -> dict[str, Lazy]:
    """The model's tensors by their original names: for saving so that a model without the rewrites reads them.

    A tensor that is reverted comes as a function, which makes it anew at each call, so that one is in memory at a time. What a
    rewrite packed comes as files hold it; where one cannot be reverted, its tensors come as they are.

    Raises:
        RewriteError: a rewrite that could be reverted lies under one that cannot.
    """
    return saved_tensors(model)[0]


def saved_tensors(model: nn.Module) -> tuple[dict[str, Lazy], set[str]]:
    """As `original_tensors`, and the names of those that are packed: they stand in no layout but their own."""
    packed: set[str] = set()
    own, ties = local_tensors(model), getattr(model, "tied_weights", {})
    tied = {target for target, source in ties.items() if own.get(target) is own.get(source, 0)}
    state: dict[str, Lazy] = {name: tensor.detach() for name, tensor in own.items()}
    sealed: set[str] = set()
    for applied in reversed(applied_to(model)):
        if not applied.rewrite.undoable and not applied.rewrite.packs:
            sealed.update(applied.full(applied.sources))
            continue
        targets = applied.full(applied.targets)
        if any(name not in state or name in sealed for name in targets):
            raise RewriteError(
                f"`{applied.path}` cannot be saved in its original layout: what `{applied.key}` built there was changed since. Undo "
                "what came after it, or remove the adapter.",
                key=applied.key,
                path=applied.path,
            )
        built, held = model.get_submodule(applied.path), [state[name] for name in targets]
        if applied.rewrite.packs and targets and tied.issuperset(targets):
            made: dict[str, Lazy] = {}  # the source's are stored
        else:
            made = _stored(applied, built, held) if applied.rewrite.packs else _reverted(applied, built, held)
        packed.update(made if applied.rewrite.packs else ())
        state = dict(_replaced(state, targets, made))
    return state, packed


def _stored(applied: AppliedRewrite, built: nn.Module, held: list[Lazy]) -> dict[str, Lazy]:
    tensors = {name: one if isinstance(one, Tensor) else one() for name, one in zip(applied.targets, held, strict=True)}
    return {f"{applied.path}.{name}": tensor for name, tensor in applied.rewrite.stored(tensors, built).items()}


def _reverted(applied: AppliedRewrite, built: nn.Module, held: list[Lazy]) -> dict[str, Lazy]:
    def make(index: int) -> Tensor:
        return applied.revert([one if isinstance(one, Tensor) else one() for one in held], built)[index]

    return {name: partial(make, index) for index, name in enumerate(applied.full(applied.sources))}


def _replaced(state: dict[str, Lazy], targets: list[str], made: dict[str, Lazy]) -> Iterator[tuple[str, Lazy]]:
    """The state with what was made in the targets' place, where the first of them stood."""
    first = next((name for name in state if name in targets), None)
    for name, value in state.items():
        if name == first:
            yield from made.items()
        elif name not in targets:
            yield name, value
