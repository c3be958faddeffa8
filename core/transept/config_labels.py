"""The labels of a classifier: `id2label`, `label2id` and `num_labels` say the same thing three times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from .errors import ConfigError

Names: TypeAlias = dict[int, str]
Ids: TypeAlias = dict[str, int | str]


def settle_labels(names: Names | None, ids: Ids | None, count: object, *, loaded: bool, where: str) -> dict[str, Names | Ids]:
    """Both fields, from what is given of them and of `num_labels`; two labels where nothing is said.

    `loaded` values come from a file: where those contradict each other, `id2label` counts, and each is kept as it stands.

    Raises: ConfigError
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
        raise ConfigError(f"`num_labels` of {where} must be a whole number, 0 or more, got {count!r}.", field="num_labels")
    if names is None and ids is not None and _one_to_one(ids):
        names = {int(number): label for label, number in ids.items()}
    apart = ids is not None and (names is None or not _agree(names, ids))
    if not loaded and (apart or (names is not None and count not in (None, len(names)))):
        raise ConfigError(f"`id2label`, `label2id` and `num_labels` of {where} contradict each other: give `id2label` alone.")
    if names is None:
        names = {i: f"LABEL_{i}" for i in range(count if isinstance(count, int) else 2)}
    following: Ids = {label: i for i, label in names.items()}
    return {"id2label": names, "label2id": following if ids is None else ids}


def follow_labels(names: Names | None, ids: Ids | None, changed: str) -> dict[str, Names | Ids]:
    """Both fields after one of them was changed: the other follows, unless they agree, or several labels share a number."""
    if names is not None and ids is not None and (_agree(names, ids) or (changed == "label2id" and not _one_to_one(ids))):
        return {"id2label": names, "label2id": ids}
    names, ids = (names, None) if changed == "id2label" else (None, ids)
    return settle_labels(names, ids, None, loaded=True, where="")


def _one_to_one(ids: Mapping[str, int | str]) -> bool:
    return sorted(map(str, ids.values())) == sorted(map(str, range(len(ids))))


def _agree(names: Mapping[int, str], ids: Mapping[str, int | str]) -> bool:
    return all(str(ids.get(label)) == str(number) for number, label in names.items())
