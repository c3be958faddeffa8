"""Model inputs of several things put into one batch, and a batch's outputs taken apart again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from transept.errors import InputError

__all__ = ["collate", "groups", "split", "to_device"]

T = TypeVar("T")
_WHOLE = object()
"""Stands for a value that cannot be cut."""


def groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` things, the last one of what is left; no more is read than what is asked for."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group


def collate(inputs: Sequence[Mapping[str, Any]], fillers: Mapping[str, Any], side: str) -> dict[str, Any]:
    """One batch of several inputs, each a batch of one.

    Tensors (1, …) are joined along the first axis; those that differ along the second, the sequence, are filled on `side` with
    the value in `fillers`, 0 where there is none. Other values become a list.

    Raises:
        InputError: tensors that cannot stand in one batch, or inputs with different names.
    """
    if len(inputs) == 1:
        return dict(inputs[0])
    names = inputs[0].keys()
    if any(each.keys() != names for each in inputs):
        differing = sorted(set().union(*(each.keys() ^ names for each in inputs)))
        raise InputError(f"Some inputs of the batch have {', '.join(differing)} and others have not: use `batch_size=1`.")
    return {name: _join(name, [each[name] for each in inputs], fillers.get(name, 0), side) for name in names}


def _join(name: str, values: list[Any], filler: Any, side: str) -> Any:
    if not all(isinstance(value, Tensor) for value in values):
        return values
    if values[0].dim() < 2 or len({value.shape[1:] for value in values}) == 1:
        return torch.cat(values)
    if len({value.shape[2:] for value in values}) > 1:
        shapes = ", ".join(str(tuple(value.shape)) for value in values[:3])
        raise InputError(f"`{name}` has the shapes {shapes}, … in one batch: use `batch_size=1`.")
    longest = max(value.shape[1] for value in values)
    return torch.cat([_filled(value, longest, filler, side) for value in values])


def _filled(value: Tensor, length: int, filler: Any, side: str) -> Tensor:
    fill = value.new_full((value.shape[0], length - value.shape[1], *value.shape[2:]), filler)
    return torch.cat([fill, value] if side == "left" else [value, fill], dim=1)


def split(outputs: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The outputs of each of the `count` inputs of a batch, again as a batch of one.

    Tensors are cut along the first axis, lists of as many entries are dealt out, tuples of tensors (hidden states) are cut
    each. What cannot be cut (a cache) is left out, for several inputs.
    """
    if count == 1:
        return [dict(outputs)]
    return [
        {name: part for name, value in outputs.items() if (part := _part(value, row, count)) is not _WHOLE}
        for row in range(count)
    ]


def _part(value: Any, row: int, count: int) -> Any:
    if isinstance(value, Tensor):
        return value[row : row + 1] if value.dim() and value.shape[0] == count else _WHOLE
    if isinstance(value, list) and len(value) == count:
        return value[row]
    if isinstance(value, tuple):
        return tuple(_part(each, row, count) for each in value)
    return _WHOLE


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors in (nested) mappings, lists and tuples, moved; what is neither stays as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: to_device(each, device) for name, each in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(each, Tensor | Mapping | list | tuple) for each in value):
        moved = [to_device(each, device) for each in value]
        return tuple(moved) if isinstance(value, tuple) else moved
    return value
