"""What all collators do with examples: check them, fill their rows through the tokenizer, make tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from transept.errors import InputError, shorten

__all__ = ["DataCollator", "check_kind", "fill_rows", "label_name_of", "mappings", "plain", "rows_of_labels", "take"]

DataCollator = Callable[[list[Any]], dict[str, Any]]
"""A function from examples to a batch."""

IGNORED = -100
"""The label that losses leave out."""

_FILLED = ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask")
"""What `tokenizer.pad` fills, besides the tokenizer's own inputs."""


def check_kind(return_tensors: str) -> str:
    """ "pt" or "np"; an InputError for anything else."""
    if return_tensors not in ("pt", "np"):
        raise InputError(f'`return_tensors` is {return_tensors!r}: give "pt" (torch) or "np" (NumPy).')
    return return_tensors


def mappings(features: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The examples as mappings with the same keys; objects give their attributes. An InputError when there are none."""
    check_some(features)
    examples = [feature if isinstance(feature, Mapping) else _attributes(feature) for feature in features]
    keys = examples[0].keys()
    for place, example in enumerate(examples):
        if missing := [key for key in keys if key not in example]:
            raise InputError(
                f"Example {place} of the batch has no {shorten(missing)}, and example 0 has. Give every example the same keys."
            )
    return examples


def check_some(features: Sequence[Any]) -> None:
    if len(features) == 0:
        raise InputError("There are no examples to make a batch of. Leave empty batches out.")


def _attributes(feature: Any) -> Mapping[str, Any]:
    if not hasattr(feature, "__dict__"):
        raise InputError(f"An example is a {type(feature).__name__}. Give mappings from names to values.")
    return vars(feature)


def plain(value: Any) -> Any:
    """Lists and numbers, out of tensors and arrays."""
    return value.tolist() if hasattr(value, "tolist") else value


def take(examples: list[Mapping[str, Any]], *names: str) -> tuple[list[Any] | None, list[dict[str, Any]]]:
    """The values of the first of the names that the examples have (None without one), and the examples without it."""
    name = next((name for name in names if name in examples[0]), None)
    rest = [{key: value for key, value in example.items() if key != name} for example in examples]
    return None if name is None else [example[name] for example in examples], rest


def label_name_of(examples: list[Mapping[str, Any]]) -> str:
    return "label" if "label" in examples[0] else "labels"


def fill_rows(
    tokenizer: Any,
    examples: list[Mapping[str, Any]],
    return_tensors: str,
    *,
    padding: Any = True,
    max_length: int | None = None,
    pad_to_multiple_of: int | None = None,
    owner: str,
) -> Any:
    """One batch out of examples, filled by `tokenizer.pad`.

    Raises:
        InputError: no padding token where one is needed, or a value that the tokenizer does not fill and that differs in length
            from example to example.
    """
    name = next(iter(getattr(tokenizer, "model_input_names", ())), "input_ids")
    _check_others(examples, {name, *_FILLED, *getattr(tokenizer, "model_input_names", ())}, owner)
    lacks = getattr(tokenizer, "pad_token_id", 0) is None and padding not in (False, "do_not_pad")
    if lacks and name in examples[0]:
        lengths = {len(example[name]) for example in examples}
        multiple = pad_to_multiple_of or 1
        if len(lengths) > 1 or max(lengths) % multiple or (padding == "max_length" and lengths != {max_length}):
            raise InputError(
                f"The examples have {min(lengths)} to {max(lengths)} tokens, and `{type(tokenizer).__name__}` has no padding token "
                "to fill them with. Set one: `tokenizer.pad_token = tokenizer.eos_token`."
            )
        padding = False  # nothing is missing
    advice = getattr(tokenizer, "deprecation_warnings", None)  # the peer's tokenizers warn of their own `pad` here
    told = None if advice is None else advice.get("Asking-to-pad-a-fast-tokenizer", False)
    if advice is not None:
        advice["Asking-to-pad-a-fast-tokenizer"] = True
    try:
        return tokenizer.pad(
            examples,
            padding=padding,
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            return_tensors=return_tensors,
        )
    finally:
        if advice is not None:
            advice["Asking-to-pad-a-fast-tokenizer"] = told


def _check_others(examples: list[Mapping[str, Any]], filled: set[str], owner: str) -> None:
    for key in examples[0]:
        if key in filled:
            continue
        values = [example[key] for example in examples]
        if any(isinstance(value, str) for value in values):
            raise InputError(f"`{key}` holds text, of which no tensor can be made. Remove it from the examples.")
        lengths = {np.shape(value)[0] if hasattr(value, "shape") else len(value) for value in values if _is_row(value)}
        if len(lengths) > 1:
            raise InputError(
                f"`{key}` has {min(lengths)} to {max(lengths)} entries, and `{owner}` fills only what the tokenizer makes. "
                "Remove it, or use a collator that fills labels: `DataCollatorForTokenClassification` or `DataCollatorForSeq2Seq`."
            )


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple) or (hasattr(value, "shape") and len(value.shape) > 0)


def rows_of_labels(rows: Sequence[Any], length: int, fill: int, side: str, return_tensors: str) -> Any:
    """Labels filled to one length: int64 (batch, length). An InputError for a row that is longer."""
    batch = np.full((len(rows), length), fill, dtype=np.int64)
    for place, row in enumerate(rows):
        values = np.asarray(plain(row), dtype=np.int64)
        if len(values) > length:
            raise InputError(f"The labels of example {place} have {len(values)} entries, and {length} is the most. Cut them.")
        start = length - len(values) if side == "left" else 0
        batch[place, start : start + len(values)] = values
    return torch.from_numpy(batch) if return_tensors == "pt" else batch
