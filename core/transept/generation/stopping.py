"""Stopping criteria: when a row, or the whole call, has enough.

A criterion takes `input_ids`, LongTensor (batch, length), and the scores of each step so far when they are recorded, and
returns BoolTensor (batch,): True for rows that stop. Class names and arguments are those of Hugging Face Transformers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import GenerationError
from .configuration import GenerationConfig, token_ids

__all__ = [
    "EosTokenCriteria", "MaxLengthCriteria", "MaxTimeCriteria", "StopStringCriteria", "StoppingCriteria", "StoppingCriteriaList",
]  # fmt: skip


class StoppingCriteria:
    """Base of all criteria."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError(f"`{type(self).__name__}` has no `__call__`.")


class _WholeCall(StoppingCriteria):
    """A criterion that is the same for all rows and needs no tensor: the loop asks `reached`."""

    def reached(self, length: int) -> bool:
        raise NotImplementedError

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.full((input_ids.shape[0],), self.reached(input_ids.shape[1]), device=input_ids.device)


class MaxLengthCriteria(_WholeCall):
    """Stops at `max_length` tokens, the prompt's included."""

    def __init__(self, max_length: int, max_position_embeddings: int | None = None) -> None:
        self.max_length, self.max_position_embeddings = max_length, max_position_embeddings

    def reached(self, length: int) -> bool:
        return length >= self.max_length


class MaxTimeCriteria(_WholeCall):
    """Stops after the forward pass during which `max_time` seconds have gone by since `initial_timestamp`, a `time.time()`."""

    def __init__(self, max_time: float, initial_timestamp: float | None = None) -> None:
        self.max_time = max_time
        late = 0.0 if initial_timestamp is None else time.time() - initial_timestamp
        self.deadline = time.monotonic() - late + max_time  # a clock that nobody sets

    def reached(self, length: int) -> bool:
        return time.monotonic() > self.deadline


class EosTokenCriteria(StoppingCriteria):
    """Stops a row whose last token (or one of the last `new_token_length`) is an end of sequence."""

    def __init__(self, eos_token_id: Any) -> None:
        self.eos_token_id = torch.tensor(token_ids(eos_token_id), dtype=torch.long)

    def __call__(self, input_ids: Tensor, scores: Any, new_token_length: int = 1, **kwargs: Any) -> Tensor:
        if self.eos_token_id.device != input_ids.device:
            self.eos_token_id = self.eos_token_id.to(input_ids.device)
        return (input_ids[:, -new_token_length:, None] == self.eos_token_id).flatten(1).any(-1)


class StopStringCriteria(StoppingCriteria):
    """Stops a row when its newest token completes one of the strings in the decoded text.

    The text is that of `tokenizer.decode` with special tokens kept, so a string may begin or end anywhere inside a token
    and may be the text of a special token. Only as much of the row's end is decoded as the longest string can span.
    No string may begin in the first `prompt_length` tokens; None: a string may begin in the prompt.
    """

    def __init__(self, tokenizer: Any, stop_strings: str | Sequence[str], prompt_length: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.stop_strings = (stop_strings,) if isinstance(stop_strings, str) else tuple(stop_strings)
        if not self.stop_strings or not all(isinstance(stop, str) and stop for stop in self.stop_strings):
            raise GenerationError(f"`stop_strings` has to hold strings that are not empty, and is {stop_strings!r}.")
        self.prompt_length = prompt_length or 0
        # A token stands for at least one byte. The tokens before show the decoder how the text goes on from something.
        self.window = max(len(stop.encode()) for stop in self.stop_strings) + 8

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        start = max(0, input_ids.shape[1] - self.window)
        rows = input_ids[:, start:].tolist()
        prompt = max(0, self.prompt_length - start)
        return torch.tensor([self._completed(row, prompt) for row in rows], dtype=torch.bool, device=input_ids.device)

    def _completed(self, row: list[int], prompt: int) -> bool:
        text, known = self._decode(row), len(self._decode(row[:-1]))
        begin = len(self._decode(row[:prompt])) if prompt else 0
        return any(text.find(stop, max(begin, known - len(stop) + 1)) >= 0 for stop in self.stop_strings)

    def _decode(self, ids: list[int]) -> str:
        # the replacement character at the end stands for a character of which bytes are still to come
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False) if ids else ""
        return text.rstrip("\ufffd")


class StoppingCriteriaList(list[Any]):
    """Criteria of which any stops a row."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        done = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        for criterion in self:
            done = done | criterion(input_ids, scores, **kwargs)
        return done

    @property
    def max_length(self) -> int | None:
        lengths = [criterion.max_length for criterion in self if isinstance(criterion, MaxLengthCriteria)]
        return min(lengths, default=None)


def criteria_for(
    config: GenerationConfig, prompt_length: int, max_length: int, tokenizer: Any, custom: Sequence[Any] | None
) -> StoppingCriteriaList:
    """The stopping criteria that a config asks for, and the user's own."""
    if config.stop_strings is not None and tokenizer is None:
        raise GenerationError("`stop_strings` are looked for in text: pass the model's `tokenizer` to `generate` too.")
    eos = token_ids(config.eos_token_id)
    made = [
        MaxLengthCriteria(max_length),
        config.max_time is not None and MaxTimeCriteria(config.max_time),
        config.stop_strings is not None and StopStringCriteria(tokenizer, config.stop_strings, prompt_length),
        eos and EosTokenCriteria(eos),
    ]
    return StoppingCriteriaList(with_custom(made, custom))


def with_custom(ours: list[Any], custom: Sequence[Any] | None) -> list[Any]:
    """Criteria or processors of ours that are not false, then the user's own; one of the same class takes the place of ours."""
    theirs = {type(item): item for item in reversed(custom or ())}
    merged = [theirs.get(type(item), item) for item in ours if item]
    return merged + [item for item in custom or () if not any(item is placed for placed in merged)]
