"""Collators that fill rows to one length: inputs through the tokenizer, labels beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from transept.errors import InputError

from .examples import IGNORED, check_kind, fill_rows, label_name_of, mappings, rows_of_labels, take

__all__ = [
    "DataCollatorForMultipleChoice",
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorWithPadding",
]


class _Filling:
    """Fills rows as its settings say."""

    tokenizer: Any
    padding: Any
    max_length: int | None
    pad_to_multiple_of: int | None

    def _filled(self, examples: list[Any], return_tensors: str) -> Any:
        return fill_rows(
            self.tokenizer,
            examples,
            return_tensors,
            padding=self.padding,
            max_length=self.max_length,
            pad_to_multiple_of=self.pad_to_multiple_of,
            owner=type(self).__name__,
        )


@dataclass
class DataCollatorWithPadding(_Filling):
    """Fills inputs to the longest of the batch. `label` and `label_ids`, one number or row of fixed size each, become `labels`.

    Args:
        tokenizer: anything with the peer's `pad`; a feature extractor too.
        padding: True or "longest"; "max_length", which is `max_length` or else what the tokenizer knows; False: not at all.
        max_length: tokens, for "max_length".
        pad_to_multiple_of: round the length up to a multiple.
        return_tensors: "pt" for tensors, "np" for arrays.

    Raises:
        InputError: no examples, no padding token, or a value that differs in length and that the tokenizer does not fill.
    """

    tokenizer: Any
    padding: Any = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> Any:
        batch = self._filled(mappings(features), check_kind(return_tensors or self.return_tensors))
        for name in ("label", "label_ids"):
            if name in batch:
                batch["labels"] = batch.pop(name)
        return batch


@dataclass
class DataCollatorForTokenClassification(_Filling):
    """Fills inputs, and the labels of each token (`labels` or `label`) with `label_pad_token_id` on the same side.

    Raises:
        InputError: as `DataCollatorWithPadding`, or labels that are not as many as the example's tokens.
    """

    tokenizer: Any
    padding: Any = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = IGNORED
    return_tensors: str = "pt"

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> Any:
        kind = check_kind(return_tensors or self.return_tensors)
        examples = mappings(features)
        name = label_name_of(examples)
        labels, rest = take(examples, name)
        for place, row in enumerate(labels or ()):
            tokens = len(rest[place]["input_ids"])
            if len(row) != tokens:
                raise InputError(
                    f"`{name}` of example {place} has {len(row)} entries for {tokens} tokens. Give one for each token."
                )
        batch = self._filled(rest, kind)
        if labels is not None:
            length = batch["input_ids"].shape[1]
            batch[name] = rows_of_labels(labels, length, self.label_pad_token_id, self.tokenizer.padding_side, kind)
        return batch


@dataclass
class DataCollatorForMultipleChoice(_Filling):
    """Fills examples that hold several choices each: every value is a list with one row a choice, `label` or `labels` a number.

    Returns (batch, choices, length) of each input, and int64 (batch,) `labels`.

    Raises:
        InputError: as `DataCollatorWithPadding`, or examples with different numbers of choices.
    """

    tokenizer: Any
    padding: Any = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str = "pt"

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> dict[str, Any]:
        kind = check_kind(return_tensors or self.return_tensors)
        labels, rest = take(mappings(features), "label", "labels")
        choices = len(next(iter(rest[0].values()), ()))
        for place, example in enumerate(rest):
            for key, rows in example.items():
                if len(rows) != choices:
                    raise InputError(f"`{key}` of example {place} has {len(rows)} choices, and example 0 has {choices}.")
        flat = [{key: rows[choice] for key, rows in example.items()} for example in rest for choice in range(choices)]
        filled = self._filled(flat, kind)
        batch = {key: value.reshape(len(rest), choices, -1) for key, value in filled.items()}
        if labels is not None:
            made = np.array([int(label) for label in labels], dtype=np.int64)
            batch["labels"] = torch.from_numpy(made) if kind == "pt" else made
        return batch


@dataclass
class DataCollatorForSeq2Seq(_Filling):
    """Fills inputs, and `labels` (or `label`), which have a length of their own, with `label_pad_token_id`.

    Args:
        model: where it has `prepare_decoder_input_ids_from_labels`, `decoder_input_ids` are made by it: for losses that are
            computed outside the model.
        label_pad_token_id: -100 is left out by losses.

    The others are as for `DataCollatorWithPadding`, and hold for labels too.

    Raises:
        InputError: as `DataCollatorWithPadding`; labels past a `max_length` that is filled to; or labels of different lengths
            without padding.
    """

    tokenizer: Any
    model: Any = None
    padding: Any = True
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    label_pad_token_id: int = IGNORED
    return_tensors: str = "pt"

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> Any:
        kind = check_kind(return_tensors or self.return_tensors)
        examples = mappings(features)
        labels, rest = take(examples, label_name_of(examples))
        batch = self._filled(rest, kind)
        if labels is None or all(row is None for row in labels):
            batch["labels"] = None
            return batch
        length = self._label_length([len(row) for row in labels])
        batch["labels"] = rows_of_labels(labels, length, self.label_pad_token_id, self.tokenizer.padding_side, kind)
        if hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            batch["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
        return batch

    def _label_length(self, lengths: list[int]) -> int:
        if self.padding in (False, "do_not_pad"):
            if len(set(lengths)) > 1:
                text = (
                    f"The labels have {min(lengths)} to {max(lengths)} entries, and `padding={self.padding!r}` leaves them so."
                )
                raise InputError(f"{text} Set `padding=True`.")
            return lengths[0]
        length = self.max_length if self.padding == "max_length" and self.max_length is not None else max(lengths)
        return length + -length % (self.pad_to_multiple_of or 1)
