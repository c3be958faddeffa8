"""What of an example the model takes, and what is left out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from transept.errors import InputError, shorten

from .notices import notice

__all__ = ["Columns", "accepted_columns", "inspected", "label_names_of"]


def inspected(model: nn.Module) -> nn.Module:
    """The model whose `forward` says what is taken: the one inside an adapter or a wrapper."""
    while hasattr(model, "module") and isinstance(model.module, nn.Module):
        model = model.module
    original = getattr(model, "_orig_mod", None)
    if isinstance(original, nn.Module):
        return inspected(original)
    get_base_model = getattr(model, "get_base_model", None)
    if callable(get_base_model):
        return get_base_model()
    return model


def _signature(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    """Of the class's `forward`: mixed precision puts a wrapper on the instance."""
    return inspect.signature(type(inspected(model)).forward).parameters


def label_names_of(model: nn.Module) -> list[str]:
    """The arguments of `forward` that are labels: those of an answer for question answering, else those called so."""
    names = list(_signature(model))
    if "QuestionAnswering" in type(inspected(model)).__name__:
        return [name for name in names if "label" in name or name in ("start_positions", "end_positions")]
    return [name for name in names if "label" in name]


def accepted_columns(model: nn.Module, label_names: list[str]) -> set[str] | None:
    """Names that the model takes; None: it takes whatever it is given, by `**kwargs` alone."""
    parameters = {name: parameter for name, parameter in _signature(model).items() if name != "self"}
    named = {name for name, parameter in parameters.items() if parameter.kind is not inspect.Parameter.VAR_KEYWORD}
    if not named and parameters:
        return None
    # collators turn the last two into `labels`
    return named | {*label_names, "label", "label_ids"}


class Columns:
    """A collator that drops what the model does not take before the other sees it, and says so once.

    Raises: InputError when nothing would be left.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], accepted: set[str] | None, model: str, what: str) -> None:
        self.collate, self.accepted, self.model, self.what = collate, accepted, model, what
        self.said = False

    def __call__(self, features: list[Any]) -> Any:
        if self.accepted is None or not features or not isinstance(features[0], Mapping):
            return self.collate(features)
        dropped = [name for name in features[0] if name not in self.accepted]
        if dropped:
            self.say(list(features[0]), dropped)
            features = [{name: value for name, value in row.items() if name in self.accepted} for row in features]
        return self.collate(features)

    def say(self, columns: list[str], dropped: list[str]) -> None:
        if len(dropped) == len(columns):
            raise InputError(
                f"None of the columns {shorten(columns, 12)} of the {self.what} data is an argument of `{self.model}.forward`. "
                "Tokenize the data first, or set `remove_unused_columns=False` where the collator makes the inputs."
            )
        if not self.said:
            self.said = True
            notice(f"Columns of the {self.what} data that `{self.model}` does not take are left out: {', '.join(dropped)}.")
