"""What people hand to a pipeline: one thing, several, or a stream; and what they get back for a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from transept.errors import InputError, did_you_mean, shorten

__all__ = ["Inputs", "KeyDataset", "KeyPairDataset", "Results", "is_chat", "sort_inputs"]

T = TypeVar("T")


@dataclass
class Inputs:
    """The things to work on, and how the results go back."""

    items: Iterable[Any]
    kind: str
    """`one`: the result itself; `many`: a list of results; `stream`: an iterator, which works as it is asked."""
    length: int | None = None


def sort_inputs(inputs: Any, is_one: Callable[[Any], bool] = lambda _: False) -> Inputs:
    """Text and mappings are one thing, lists and tuples several; a dataset (`__len__` and `__getitem__`) and whatever can be
    iterated over is a stream. `is_one` names more things that are one.

    Raises:
        InputError: an empty list, or nothing.
    """
    if inputs is None:
        raise InputError("There is no input: a pipeline is called with a text, a list of texts, or a dataset.")
    if is_one(inputs) or isinstance(inputs, str | bytes | Mapping):
        return Inputs([inputs], "one", 1)
    if isinstance(inputs, list | tuple):
        if not inputs:
            raise InputError("The list of inputs is empty: give at least one.")
        return Inputs(inputs, "many", len(inputs))
    length = len(inputs) if hasattr(inputs, "__len__") else None
    if length is not None and hasattr(inputs, "__getitem__") and not hasattr(inputs, "__iter__"):
        return Inputs((inputs[place] for place in range(length)), "stream", length)
    if hasattr(inputs, "__iter__"):
        return Inputs(inputs, "stream", length)
    return Inputs([inputs], "one", 1)


def is_chat(value: Any) -> bool:
    """Whether a value is a conversation: a list of messages with `role` and `content` (or `tool_calls`)."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(m, Mapping) and "role" in m for m in value)


class Results(Iterator[T], Generic[T]):
    """The results of a stream, each made when it is asked for. It has a length where the stream has one."""

    def __init__(self, results: Iterator[T], length: int | None = None) -> None:
        self._results, self._length = results, length

    def __next__(self) -> T:
        return next(self._results)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("The inputs came without a length, so the results have none.")
        return self._length


class KeyDataset(Sequence[Any]):
    """One column of a dataset whose rows are mappings: `KeyDataset(rows, "text")`.

    Raises:
        InputError: a row without that column.
    """

    def __init__(self, dataset: Any, key: str) -> None:
        self.dataset, self.key = dataset, key

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return _column(self._row(place), self.key)

    def _row(self, place: int) -> Any:
        if not -len(self) <= place < len(self):
            raise IndexError(f"The dataset has {len(self)} rows, and row {place} was asked for.")
        return self.dataset[place]


class KeyPairDataset(KeyDataset):
    """Two columns of a dataset, as the text and its pair: rows `{"text": …, "text_pair": …}`."""

    def __init__(self, dataset: Any, key1: str, key2: str) -> None:
        super().__init__(dataset, key1)
        self.key2 = key2

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        row = self._row(place)
        return {"text": _column(row, self.key), "text_pair": _column(row, self.key2)}


def _column(row: Any, key: str) -> Any:
    if not isinstance(row, Mapping) or key not in row:
        columns = list(row) if isinstance(row, Mapping) else []
        raise InputError(f"The dataset has no column `{key}`.{did_you_mean(key, columns)} It has {shorten(columns) or 'none'}.")
    return row[key]
