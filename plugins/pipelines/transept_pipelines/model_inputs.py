"""What a tokenizer takes, and what a model takes of what the tokenizer gives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

__all__ = ["TOKENIZER_ARGUMENTS", "fitting", "knows_characters"]

TOKENIZER_ARGUMENTS = frozenset(
    [
        "add_special_tokens",
        "padding",
        "truncation",
        "max_length",
        "stride",
        "is_split_into_words",
        "pad_to_multiple_of",
        "padding_side",
        "split_special_tokens",
        "verbose",
    ]
)
"""Arguments of a tokenizer's call that leave the kind of its result alone."""


def fitting(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as the model's forward takes them, with `use_cache=False` where it has a cache: nothing is generated.

    Token type ids that a model does not know are left out: a tokenizer may serve several architectures.
    """
    takes = inspect.signature(model.forward).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    found = {name: value for name, value in inputs.items() if anything or name in takes or name != "token_type_ids"}
    if "use_cache" in takes:
        found["use_cache"] = False
    return found


def knows_characters(tokenizer: Any) -> bool:
    """Whether a tokenizer says which characters each token stands for: what it returns carries the backend's encodings."""
    return bool(getattr(tokenizer("a"), "is_fast", False))
