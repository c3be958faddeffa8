"""Training batches: each is a function of the seed, the epoch and its number, and of nothing else.

So a run that resumes at batch 137 of epoch 2 sees what it would have seen, collators that draw (masks, augmentations) included, with
any number of worker processes, and whatever an evaluation in between has drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

__all__ = ["BatchKey", "Sharing", "StreamLoader", "TrainLoader", "length_grouped_order", "random_order"]

Collate = Callable[[list[Any]], Any]


@contextmanager
def drawing(*parts: int) -> Iterator[None]:
    """Inside, the global generators of Python, numpy and torch (CPU) draw what follows from these numbers; after it, as before."""
    seed = int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")
    generator = torch.random.default_generator
    before = (generator.get_state(), random.getstate(), np.random.get_state())
    generator.manual_seed(seed & 0x7FFFFFFFFFFFFFFF)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    try:
        yield
    finally:
        generator.set_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])


@dataclass(frozen=True)
class Sharing:
    """Which part of each batch this process takes."""

    process: int = 0
    processes: int = 1
    even: bool = True
    """The last batch is filled from the front, so that all processes have as many batches."""


class BatchKey(NamedTuple):
    """A batch before it is made."""

    epoch: int
    number: int
    rows: list[int]


def random_order(count: int, seed: int, epoch: int) -> list[int]:
    """All rows once, in the order that accelerate's seedable sampler has for this seed."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch)).tolist()


def length_grouped_order(lengths: Sequence[int], batch: int, seed: int, epoch: int) -> list[int]:
    """All rows once, in a random order in which neighbours are of like lengths, the longest of all in front.

    Rows are shuffled, cut into pieces of up to 50 batches, and each piece is sorted by falling length. What is too large for memory
    shows in the first batch.
    """
    order = random_order(len(lengths), seed, epoch)
    size = batch * max(1, min(len(lengths) // (batch * 4), 50))
    pieces = [sorted(order[at : at + size], key=lambda row: -lengths[row]) for at in range(0, len(order), size)]
    longest = max(range(len(pieces)), key=lambda piece: lengths[pieces[piece][0]])
    pieces[0][0], pieces[longest][0] = pieces[longest][0], pieces[0][0]
    return [row for piece in pieces for row in piece]


class _Batches(Dataset[Any]):
    """Makes the batch that a key stands for; runs in worker processes where there are any."""

    def __init__(self, dataset: Any, collate: Collate, seed: int) -> None:
        self.dataset, self.collate, self.seed = dataset, collate, seed

    def __getitem__(self, key: BatchKey) -> Any:
        with drawing(self.seed, key.epoch, key.number):
            fetch = getattr(self.dataset, "__getitems__", None)
            rows = fetch(key.rows) if fetch is not None else [self.dataset[row] for row in key.rows]
            return self.collate(rows)


class _Keys(Sampler[BatchKey]):
    """The keys of an epoch, from the batch where it begins."""

    def __init__(self, order: Callable[[int], list[int]], count: int, batch: int, drop_last: bool, sharing: Sharing) -> None:
        self.order, self.count, self.batch, self.drop_last, self.sharing = order, count, batch, drop_last, sharing
        self.epoch = self.begin = 0

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch * self.sharing.processes)
        if self.drop_last or not rest:
            return whole
        if self.sharing.even:
            return whole + 1
        return whole + int(self.sharing.process * self.batch < rest)

    def __iter__(self) -> Iterator[BatchKey]:
        order, sharing = self.order(self.epoch), self.sharing
        step = self.batch * sharing.processes
        for number in range(self.begin, len(self)):
            rows = order[number * step : (number + 1) * step]
            if sharing.processes > 1 and sharing.even:
                while len(rows) < step:
                    rows = rows + order[: step - len(rows)]
            begin = sharing.process * self.batch
            yield BatchKey(self.epoch, number, rows[begin : begin + self.batch])


def _as_it_is(batch: Any) -> Any:
    return batch


class TrainLoader(DataLoader[Any]):
    """Batches of a map-style dataset.

    Args:
        order: the rows of an epoch, given its number.
        options: of torch's DataLoader: workers and pinning.
    """

    def __init__(
        self,
        dataset: Any,
        collate: Collate,
        *,
        order: Callable[[int], list[int]],
        batch_size: int,
        seed: int,
        drop_last: bool,
        sharing: Sharing,
        **options: Any,
    ) -> None:
        self.examples = dataset
        self.keys = _Keys(order, len(dataset), batch_size, drop_last, sharing)
        # DataLoader draws a seed for its workers at each `iter`: from a generator of its own, so that the run's is left alone
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            _Batches(dataset, collate, seed),
            batch_size=None,
            sampler=self.keys,
            collate_fn=_as_it_is,
            generator=generator,
            **options,
        )

    def set_epoch(self, epoch: int, begin: int = 0) -> None:
        """The epoch that the next `iter` goes through, and the batch that it begins with."""
        self.keys.epoch, self.keys.begin = epoch, begin
        if hasattr(self.examples, "set_epoch"):
            self.examples.set_epoch(epoch)

    def rows_of(self, number: int) -> list[int]:
        """The rows of a batch of this epoch that this process has."""
        keys, begin = self.keys, self.keys.begin
        keys.begin = number
        try:
            return next(iter(keys)).rows
        except StopIteration:
            return []
        finally:
            keys.begin = begin


class _Stream(IterableDataset[Any]):
    """Makes batches as an iterable brings its examples, whose own draws follow from seed, epoch and worker."""

    def __init__(self, dataset: Any, collate: Collate, batch: int, seed: int, drop_last: bool, sharing: Sharing) -> None:
        self.dataset, self.collate, self.batch, self.seed = dataset, collate, batch, seed
        self.drop_last, self.sharing = drop_last, sharing
        self.epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        """In shared memory: persistent workers see it change."""

    def __iter__(self) -> Iterator[Any]:
        epoch = int(self.epoch)
        worker = get_worker_info()
        place = 0 if worker is None else worker.id
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
        size = self.batch * self.sharing.processes
        with drawing(self.seed, epoch, place, -1):
            examples = iter(self.dataset)
        first: list[Any] = []
        number = 0
        while True:
            with drawing(self.seed, epoch, place, number):
                rows = _take(examples, size)
                if not rows or (self.drop_last and len(rows) < size):
                    return
                if self.sharing.processes > 1:
                    first = first or rows
                    while len(rows) < size:
                        rows = rows + first[: size - len(rows)]
                    begin = self.sharing.process * self.batch
                    rows = rows[begin : begin + self.batch]
                made = self.collate(rows)
            yield made
            number += 1


def _take(examples: Iterator[Any], count: int) -> list[Any]:
    rows = []
    for row in examples:
        rows.append(row)
        if len(rows) == count:
            break
    return rows


class StreamLoader(DataLoader[Any]):
    """Batches of an iterable. To begin in the middle it goes through what comes before: where an iterable is, only it knows."""

    def __init__(
        self,
        dataset: Any,
        collate: Collate,
        *,
        batch_size: int,
        seed: int,
        drop_last: bool,
        sharing: Sharing,
        **options: Any,
    ) -> None:
        self.examples = dataset
        self.begin = 0
        self._stream = _Stream(dataset, collate, batch_size, seed, drop_last, sharing)
        generator = torch.Generator().manual_seed(seed)
        super().__init__(self._stream, batch_size=None, collate_fn=_as_it_is, generator=generator, **options)

    def __len__(self) -> int:
        raise TypeError("an iterable has no length")

    def set_epoch(self, epoch: int, begin: int = 0) -> None:
        self._stream.epoch.fill_(epoch)
        self.begin = begin

    def __iter__(self) -> Any:
        batches = super().__iter__()
        for _ in range(self.begin):
            if next(batches, None) is None:
                break
        return batches

    def rows_of(self, number: int) -> list[int]:
        """Not known."""
        return []
