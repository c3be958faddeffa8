"""One long row out of many examples, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from transept.errors import InputError

from .examples import IGNORED, check_kind, mappings, plain

__all__ = ["DataCollatorWithFlattening"]


@dataclass
class DataCollatorWithFlattening:
    """Joins all examples to one row: `input_ids`, `labels` and `position_ids`, int64 (1, total length).

    Positions restart with each example, by which a model keeps the examples apart when it is given no attention mask and no cache
    that holds tokens. A cache that is filled with the row cannot be gone on from: `use_cache=False` saves it. The first label of each example is `separator_id`, so that no example is to
    be predicted from the one before.

    Args:
        return_tensors: "pt" for tensors, "np" for arrays.
        return_position_ids: give `position_ids`.
        separator_id: the first label of each example; -100 is left out by losses.
        return_flash_attn_kwargs: give `cu_seq_lens_q` and `cu_seq_lens_k`, int32 (examples + 1,): where each example begins, and
            the whole length; and `max_length_q` and `max_length_k`, the longest example's, as numbers. For models that take them.
        return_seq_idx: give `seq_idx`, int32 (1, total length): the example that each token is of.
        position_ids_start: the position of each example's first token; RoBERTa and its kin count from 2.

    Raises:
        InputError: no examples, or labels that are not as many as the example's tokens.
    """

    return_tensors: str = "pt"
    return_position_ids: bool = True
    separator_id: int = IGNORED
    return_flash_attn_kwargs: bool = False
    return_seq_idx: bool = False
    position_ids_start: int = 0

    def __call__(
        self, features: Sequence[Any], return_tensors: str | None = None, separator_id: int | None = None
    ) -> dict[str, Any]:
        kind = check_kind(return_tensors or self.return_tensors)
        examples = mappings(features)
        rows = [np.asarray(plain(example["input_ids"]), dtype=np.int64) for example in examples]
        labels = [np.array(plain(example.get("labels", example["input_ids"])), dtype=np.int64) for example in examples]
        for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
            if len(row) != len(label):
                text = f"`labels` of example {place} has {len(label)} entries for {len(row)} tokens."
                raise InputError(f"{text} Give one for each token.")
            label[:1] = self.separator_id if separator_id is None else separator_id
        lengths = np.array([len(row) for row in rows])
        ends = lengths.cumsum()
        example_of = np.repeat(np.arange(len(rows)), lengths)
        batch: dict[str, Any] = {"input_ids": np.concatenate(rows)[None], "labels": np.concatenate(labels)[None]}
        if self.return_position_ids:
            batch["position_ids"] = (np.arange(ends[-1]) - (ends - lengths)[example_of] + self.position_ids_start)[None]
        if self.return_seq_idx:
            batch["seq_idx"] = example_of.astype(np.int32)[None]
        if self.return_flash_attn_kwargs:
            begins = np.concatenate(([0], ends)).astype(np.int32)
            longest = int(lengths.max())
            batch |= {"cu_seq_lens_q": begins, "cu_seq_lens_k": begins, "max_length_q": longest, "max_length_k": longest}
        if kind == "np":
            return batch
        return {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in batch.items()}
