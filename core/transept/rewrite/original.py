"""A rewritten model"s tensors as they were: for saving so that anybody reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from ..errors import RewriteError
from .apply import applied_to
from .rewrite import AppliedRewrite
from .tensors import local_tensors

__all__ = ["original_tensors"]


def original_tensors(model: nn.Module) -> dict[str, Tensor | Callable[[], Tensor]]:
    """The model's tensors by their original names: for saving so that a model without the rewrites reads them.

    A tensor that is reverted comes as a function, which makes it anew at each call, so that one is in memory at a time. Where a
    rewrite cannot be reverted, its tensors come as they are.

    Raises:
        RewriteError: a rewrite that could be reverted lies under one that cannot.
    """
    state: dict[str, Tensor | Callable[[], Tensor]] = {name: tensor.detach() for name, tensor in local_tensors(model).items()}
    sealed: set[str] = set()
    for applied in reversed(applied_to(model)):
        if not applied.rewrite.undoable:
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
        held = [state[name] for name in targets]
        made = {
            name: _reverted(applied, model.get_submodule(applied.path), held, index)
            for index, name in enumerate(applied.full(applied.sources))
        }
        state = dict(_replaced(state, targets, made))
    return state


def _reverted(
    applied: AppliedRewrite, built: nn.Module, held: list[Tensor | Callable[[], Tensor]], index: int
) -> Callable[[], Tensor]:
    return lambda: applied.revert([one if isinstance(one, Tensor) else one() for one in held], built)[index]


def _replaced(state: dict[str, Any], targets: list[str], made: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The state with the targets' place, where the first of them stood, taken by what was made."""
    pending = True
    for name, value in state.items():
        if name in targets and pending:
            yield from made.items()
            pending = False
        elif name not in targets:
            yield name, value
