"""Batches of examples that have one size already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from transept.errors import InputError

from .examples import check_kind, mappings

__all__ = ["DefaultDataCollator", "default_data_collator"]


def default_data_collator(features: Sequence[Any], return_tensors: str = "pt") -> dict[str, Any]:
    """Stack each value of the examples.

    `label` (a number each; int64 or float32) and `label_ids` (a row each) become `labels`. Text and None are left out.

    Args:
        features: mappings, or objects with attributes, that have the same keys.
        return_tensors: "pt" for tensors, "np" for arrays.

    Raises:
        InputError: no examples, different keys, or a value that differs in size from example to example.
    """
    stack = _tensor if check_kind(return_tensors) == "pt" else _array
    examples = mappings(features)
    first, batch = examples[0], {}
    label = next((name for name in ("label", "label_ids") if first.get(name) is not None), None)
    if label is not None:
        batch["labels"] = _stacked(label, [example[label] for example in examples], stack, is_label=True)
    for name, value in first.items():
        if name not in ("label", "label_ids") and value is not None and not isinstance(value, str):
            batch[name] = _stacked(name, [example[name] for example in examples], stack)
    return batch


@dataclass
class DefaultDataCollator:
    """`default_data_collator` with a `return_tensors` of its own, "pt" or "np"."""

    return_tensors: str = "pt"

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> dict[str, Any]:
        return default_data_collator(features, return_tensors or self.return_tensors)


def _stacked(name: str, values: list[Any], stack: Callable[[list[Any], bool], Any], is_label: bool = False) -> Any:
    try:
        return stack(values, is_label)
    except (ValueError, TypeError, RuntimeError) as error:
        sizes = {len(value) for value in values if hasattr(value, "__len__") and getattr(value, "shape", True)}
        found = (
            f"it has {min(sizes)} to {max(sizes)} entries"
            if len(sizes) > 1
            else "its values are no numbers, or nested unevenly"
        )
        hint = "Fill or remove it, or use a collator that fills, such as `DataCollatorWithPadding`."
        raise InputError(f"`{name}` cannot be stacked: {found}. {hint}") from error


def _is_integer(value: Any) -> bool:
    """A number, or the first of a row of them."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return not np.issubdtype(np.asarray(value).dtype, np.floating)


def _tensor(values: list[Any], is_label: bool) -> torch.Tensor:
    first = values[0]
    if isinstance(first, torch.Tensor) and (first.dim() or not is_label):
        return torch.stack(values)
    if is_label:
        return torch.tensor(np.array(values), dtype=torch.long if _is_integer(first) else torch.float)
    return torch.from_numpy(np.stack(values)) if isinstance(first, np.ndarray) else torch.tensor(values)


def _array(values: list[Any], is_label: bool) -> np.ndarray[Any, Any]:
    values = [value.numpy() if isinstance(value, torch.Tensor) else value for value in values]
    first = values[0]
    if is_label and not (isinstance(first, np.ndarray) and first.ndim):
        return np.array(values, dtype=np.int64 if _is_integer(first) else np.float32)
    made = np.stack(values) if isinstance(first, np.ndarray) else np.array(values)
    if made.dtype == object:
        raise TypeError("an array of objects is none of numbers")
    return made
