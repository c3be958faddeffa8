"""Entities out of tags, as the CoNLL-2000 shared task's scorer (conlleval) reads them, in the schemes IOB1, IOB2, IOE and BIOES."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Entity", "counts_of_kinds", "entities_of", "seqeval"]

Entity = tuple[str, int, int]
"""Kind, first tag, last tag."""


def seqeval(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Micro-averaged over entities: one counts when kind, beginning and end are right. `accuracy` is of the tags."""
    counts = counts_of_kinds(predictions, references)
    right, found, true = (sum(each[place] for each in counts.values()) for place in range(3))
    precision, recall, f1 = scores_of(right, found, true)
    tags = [pair for ours, theirs in zip(predictions, references, strict=True) for pair in zip(ours, theirs, strict=True)]
    accuracy = sum(ours == theirs for ours, theirs in tags) / len(tags) if tags else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "accuracy": accuracy}


def scores_of(right: int, found: int, true: int) -> tuple[float, float, float]:
    """Precision, recall and F1 out of three counts; 0 where nothing is there to be counted."""
    precision, recall = right / found if found else 0.0, right / true if true else 0.0
    return precision, recall, 2 * right / (found + true) if found + true else 0.0


def counts_of_kinds(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, tuple[int, int, int]]:
    """For each kind of entity: how many are right, found and true."""
    counts: dict[str, list[int]] = {}
    for ours, theirs in zip(predictions, references, strict=True):
        found, true = set(entities_of(ours)), set(entities_of(theirs))
        for place, each in ((0, found & true), (1, found), (2, true)):
            for kind, _, _ in each:
                counts.setdefault(kind, [0, 0, 0])[place] += 1
    return {kind: (right, found, true) for kind, (right, found, true) in sorted(counts.items())}


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities in a sequence of tags: `B-PER`, `I-PER`, `E-PER`, `S-PER`, `O`; tags without a kind are of the kind "_"."""
    entities: list[Entity] = []
    start, last, open_kind = 0, "O", ""
    for place, tag in enumerate([*tags, "O"]):
        mark, kind = _parts(tag)
        ends = last in "ES" or mark in "BSO" or kind != open_kind
        if open_kind and ends:
            entities.append((open_kind, start, place - 1))
            open_kind = ""
        if mark != "O" and not open_kind:
            start, open_kind = place, kind
        last = mark
    return entities


def _parts(tag: Any) -> tuple[str, str]:
    """The mark, one of B, I, E, S and O, and the kind; L and U are other names for E and S, and without a mark it is I."""
    if tag == "O":
        return "O", ""
    mark, dash, kind = str(tag).partition("-")
    mark = {"L": "E", "U": "S"}.get(mark, mark)
    if mark in ("B", "I", "E", "S") and (dash or not kind):
        return mark, kind or "_"
    return "I", str(tag)
