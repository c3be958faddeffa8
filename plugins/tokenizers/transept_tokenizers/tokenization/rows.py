"""From texts as people give them to a batch, and from encodings to the rows that they asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transept.errors import TokenizerError

from .encoding import Encoding

__all__ = ["as_batch", "is_pair", "lone_surrogate_error", "named_rows"]


def as_batch(text: Any, pair: Any, split: bool) -> tuple[list[Any], bool]:
    """Texts or (text, pair) tuples to encode, and whether they were given as a batch."""
    listed = isinstance(text, (list, tuple))
    is_batch = listed and (not split or (bool(text) and isinstance(text[0], (list, tuple))))
    if not is_batch:
        # an empty second text counts as none here, and as a text in a batch: ids equal those of the established library
        texts = [(text, pair)] if pair else [text]
    elif pair is None:
        texts = list(text)
    elif not isinstance(pair, (list, tuple)) or len(pair) != len(text):
        have = len(pair) if isinstance(pair, (list, tuple)) else f"a {type(pair).__name__}"
        raise TokenizerError(f"`text` is a batch of {len(text)} and `text_pair` is {have}: give a list of the same length.")
    else:
        texts = list(zip(text, pair, strict=True))
    for place, each in enumerate(texts):
        parts = each if is_pair(each, split) else (each,)
        for part in parts:
            _check_text(part, split, f"text[{place}]" if is_batch else "text")
    return texts, is_batch


def is_pair(item: Any, split: bool) -> bool:
    """Whether one item of a batch is a text and its pair."""
    if not isinstance(item, (list, tuple)) or len(item) != 2:
        return False
    return all(isinstance(part, (list, tuple)) for part in item) if split else True


def _check_text(value: Any, split: bool, where: str) -> None:
    if split:
        if isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
            return
        raise TokenizerError(f"`{where}` is `{value!r:.100}`: with `is_split_into_words` a text is a list of strings.")
    if not isinstance(value, str):
        raise TokenizerError(
            f"`{where}` is a {type(value).__name__} (`{value!r:.100}`): give a string, or a list of strings for a batch."
        )


def lone_surrogate_error(texts: Sequence[Any]) -> TokenizerError | None:
    """The error for the first text with half a character in it, where there is one."""
    for place, text in enumerate(texts):
        found = _lone_surrogate(text)
        if found is not None:
            return TokenizerError(
                f"`text[{place}]` has half a character, `{found!r}` (a lone surrogate), which no text file can hold. "
                "Read the text as UTF-8, or drop it: `text.encode('utf-8', 'ignore').decode()`."
            )
    return None


def _lone_surrogate(text: Any) -> str | None:
    if isinstance(text, (list, tuple)):
        return next((found for found in map(_lone_surrogate, text) if found is not None), None)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return str(text[error.start])
    return None


def named_rows(
    encodings: Sequence[Encoding], wanted: Sequence[str], with_overflow: bool
) -> tuple[dict[str, Any], list[Encoding]]:
    """The asked-for values of every row; a text that was cut gives several rows with its overflowing parts."""
    samples = [[encoding, *encoding.overflowing] if with_overflow else [encoding] for encoding in encodings]
    rows = [row for sample in samples for row in sample]
    take = {
        "input_ids": lambda row: row.ids,
        "token_type_ids": lambda row: row.type_ids,
        "attention_mask": lambda row: row.attention_mask,
        "special_tokens_mask": lambda row: row.special_tokens_mask,
        "offset_mapping": lambda row: row.offsets,
        "length": lambda row: len(row.ids),
    }
    data: dict[str, Any] = {name: [take[name](row) for row in rows] for name in wanted}
    if with_overflow:
        data["overflow_to_sample_mapping"] = [place for place, sample in enumerate(samples) for _ in sample]
    return data, rows
