"""From a mask to runs of queries and keys: what FlashAttention's functions for sequences of different lengths take.

Flash aligns the last query of a run with its last key, and knows of a mask only how far a query sees to its left and right. So
each row, and each document in it, becomes a run whose keys follow each other, and runs that see as far are served together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from transept.attention import MaskSpec

__all__ = ["Packed", "Run", "pack", "runs_of"]


class Run(NamedTuple):
    """Queries and keys of a row, in a piece each, as indices of the query and key tensors."""

    row: int
    queries: range
    keys: range
    left: int
    """How many keys before the one that its own is aligned with a query sees; -1: all."""
    right: int


@dataclass
class Packed:
    """Runs that see as far, in flash's terms: int32 (runs + 1,) ends, and which rows of (batch · length, heads, head_dim) they are."""

    queries: Tensor
    keys: Tensor
    query_ends: Tensor
    key_ends: Tensor
    longest_query: int
    longest_key: int
    window: tuple[int, int]


def pack(mask: MaskSpec, batch: int, device: torch.device) -> list[Packed] | None:
    """Runs by how far they see; None where a row's keys do not follow each other."""
    runs = runs_of(mask, batch)
    if runs is None:
        return None
    groups: dict[tuple[int, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.left, run.right), []).append(run)
    return [_packed(group, window, mask, device) for window, group in groups.items()]


def runs_of(mask: MaskSpec, batch: int) -> list[Run] | None:
    """The mask as runs; None where there are holes: keys that nobody sees, or another document's, between those of a document.

    Queries in no run see nothing. Reads the mask's tensors from their device once.
    """
    keep = None if mask.keep is None else mask.keep.tolist()
    documents = None if mask.documents is None else mask.documents.tolist()
    found: list[Run] = []
    for row in range(batch):
        kept = None if keep is None else keep[row if len(keep) > 1 else 0]
        of_row = None if documents is None else documents[row if len(documents) > 1 else 0]
        pieces = _documents(of_row, mask)
        if pieces is None:
            return None
        for keys, queries in pieces:
            seen = _kept(kept, keys)
            if seen is None:
                return None
            found += _runs(mask, row, queries, seen)
    return found


def _documents(documents: list[int] | None, mask: MaskSpec) -> list[tuple[range, range]] | None:
    """Key indices of each document and of those of its tokens that are queries; None where one comes in several pieces."""
    own = range(mask.query_offset, mask.query_offset + mask.query_length)
    if documents is None:
        return [(range(mask.key_length), own)]
    pieces, start = [], 0
    numbers = [(number, len(list(each))) for number, each in groupby(documents)]
    if len({number for number, _ in numbers}) < len(numbers):
        return None
    for _, count in numbers:
        keys = range(start, start + count)
        pieces.append((keys, range(max(keys.start, own.start), min(keys.stop, own.stop))))
        start += count
    return pieces


def _kept(keep: list[bool] | None, keys: range) -> range | None:
    """The kept ones of these keys; None where they have holes."""
    if keep is None:
        return keys
    indices = [key for key in keys if keep[key]]
    if not indices:
        return range(keys.start, keys.start)
    return range(indices[0], indices[-1] + 1) if indices[-1] - indices[0] + 1 == len(indices) else None


def _runs(mask: MaskSpec, row: int, queries: range, keys: range) -> Iterator[Run]:
    """The runs of queries, given by their key indices, over keys that follow each other."""
    causal, window = mask.kind == "causal", mask.sliding_window
    left = None if window is None else window - 1
    right = 0 if causal else left
    # queries that see nothing are left out, and so are keys that nobody sees: what is left to see is then never negative
    first, last = queries.start, queries.stop
    if right is not None:
        first = max(first, keys.start - right)
    if left is not None:
        last = min(last, keys.stop + left)
    if first >= last or not keys:
        return
    keys = range(
        keys.start if left is None else max(keys.start, first - left),
        keys.stop if right is None else min(keys.stop, last + right),
    )
    if not keys:
        return
    if causal and window is None and last > keys.stop:
        # those behind the last key see all; so the rest, aligned with their own keys, can go with other rows
        ends = max(first, keys.stop)
        yield _run(mask, row, range(ends, last), keys, -1, -1)
        last = ends
        if first == last:
            return
    shift = last - keys.stop  # the last query's key, from the last key that it is aligned with
    yield _run(
        mask, row, range(first, last), keys, -1 if left is None else left - shift, -1 if right is None else right + shift
    )


def _run(mask: MaskSpec, row: int, queries: range, keys: range, left: int, right: int) -> Run:
    return Run(row, range(queries.start - mask.query_offset, queries.stop - mask.query_offset), keys, left, right)


def _packed(runs: list[Run], window: tuple[int, int], mask: MaskSpec, device: torch.device) -> Packed:
    def ends(lengths: list[int]) -> Tensor:
        return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)

    def indices(length: int, parts: list[tuple[int, range]]) -> Tensor:
        return torch.cat([torch.arange(part.start, part.stop) + row * length for row, part in parts]).to(device)

    query_lengths, key_lengths = [len(run.queries) for run in runs], [len(run.keys) for run in runs]
    return Packed(
        queries=indices(mask.query_length, [(run.row, run.queries) for run in runs]),
        keys=indices(mask.key_length, [(run.row, run.keys) for run in runs]),
        query_ends=ends(query_lengths),
        key_ends=ends(key_lengths),
        longest_query=max(query_lengths),
        longest_key=max(key_lengths),
        window=window,
    )
