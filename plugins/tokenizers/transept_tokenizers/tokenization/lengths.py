"""What the arguments about length mean: where texts are cut, and to what length rows are filled."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from transept.errors import TokenizerError

__all__ = ["NO_MAX_LENGTH", "Padding", "Truncation", "check_side", "padding_from", "truncation_from"]

NO_MAX_LENGTH = int(1e30)
"""`model_max_length` of a tokenizer that knows none, as checkpoints write it."""
_KNOWN_LENGTH = int(1e20)
_PADDING = ("longest", "max_length", "do_not_pad")
_TRUNCATION = ("longest_first", "only_first", "only_second", "do_not_truncate")


@dataclass(frozen=True, slots=True)
class Truncation:
    """Cut to `max_length` tokens, special tokens included; overflowing parts repeat `stride` tokens."""

    max_length: int
    strategy: str
    stride: int
    side: str


@dataclass(frozen=True, slots=True)
class Padding:
    """Fill rows to `length` (None: the batch's longest), rounded up to a multiple, with `pad_token`."""

    length: int | None
    multiple_of: int | None
    side: str
    pad_id: int
    pad_token: str

    def target(self, lengths: Iterable[int]) -> int:
        """The length to fill to, for rows of these lengths; longer rows stay as they are."""
        target = max(lengths, default=0) if self.length is None else self.length
        if self.multiple_of:
            target += -target % self.multiple_of
        return target


def check_side(side: str, name: str) -> str:
    """A side is "left" or "right"."""
    if side not in ("left", "right"):
        raise TokenizerError(f'`{name}` is `{side!r}`: give "left" or "right".')
    return side


def _strategy(value: bool | str | None, name: str, known: tuple[str, ...], on: str) -> str | None:
    if value is None or value is False:
        return None
    chosen = on if value is True else value
    if chosen not in known:
        raise TokenizerError(f"`{name}` is `{value!r}`: give True, False or one of {', '.join(known)}.")
    return None if chosen == known[-1] else str(getattr(chosen, "value", chosen))


def truncation_from(
    truncation: bool | str | None,
    padding: bool | str,
    max_length: int | None,
    stride: int,
    *,
    model_max_length: int,
    side: str,
) -> Truncation | None:
    """What to cut to, or None. A `max_length` that comes alone asks for truncation."""
    if max_length is not None and (not isinstance(max_length, int) or max_length < 0):
        raise TokenizerError(f"`max_length` is `{max_length!r}`: give a number of tokens, 0 or more.")
    strategy = _strategy(truncation, "truncation", _TRUNCATION, "longest_first")
    if strategy is None and truncation is None and padding is False and max_length is not None:
        strategy = "longest_first"
    if strategy is None:
        if max_length is not None and padding != "max_length":
            warnings.warn(
                "`max_length` changes nothing without `truncation=True` (cut to it) or `padding='max_length'` (fill to it).",
                stacklevel=4,
            )
        return None
    if max_length is None:
        if model_max_length > _KNOWN_LENGTH:
            warnings.warn(
                "`truncation` changes nothing: no `max_length` is given and the tokenizer has no `model_max_length`.",
                stacklevel=4,
            )
            return None
        max_length = model_max_length
    if stride < 0 or (stride and stride >= max_length):
        raise TokenizerError(f"`stride` is {stride}: give a number from 0 to below `max_length` ({max_length}).")
    return Truncation(max_length, strategy, stride, check_side(side, "truncation_side"))


def padding_from(
    padding: bool | str,
    max_length: int | None,
    multiple_of: int | None,
    *,
    model_max_length: int,
    side: str,
    pad_token: str | None,
    pad_id: int | None,
) -> Padding | None:
    """What to fill to, or None. Raises `TokenizerError` when there is nothing to fill with."""
    strategy = _strategy(padding, "padding", _PADDING, "longest")
    if strategy is None:
        return None
    if pad_token is None:
        raise TokenizerError(
            "`padding` needs a padding token and this tokenizer has none. Set one (`tokenizer.pad_token = "
            "tokenizer.eos_token`), or add one (`tokenizer.add_special_tokens({'pad_token': '<pad>'})` and "
            "`model.resize_token_embeddings(len(tokenizer))`)."
        )
    if pad_id is None:
        raise TokenizerError(
            f"`pad_token` is `{pad_token}`, which is not in the vocabulary: "
            f"`tokenizer.add_special_tokens({{'pad_token': '{pad_token}'}})` adds it; resize the model's embeddings then."
        )
    if multiple_of is not None and multiple_of < 1:
        raise TokenizerError(f"`pad_to_multiple_of` is {multiple_of}: give 1 or more, or None.")
    length = None
    if strategy == "max_length":
        length = model_max_length if max_length is None else max_length
        if length > _KNOWN_LENGTH:
            warnings.warn(
                "`padding='max_length'` changes nothing: no `max_length` is given and the tokenizer has no `model_max_length`.",
                stacklevel=4,
            )
            return None
    return Padding(length, multiple_of, check_side(side, "padding_side"), pad_id, pad_token)
