"""What a task is given, and what all of them do with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transept.errors import InputError, did_you_mean, shorten

from ..data import Columns, Example
from ..metric import Metric
from ..results import Outcome

__all__ = ["Job", "Progress", "Task", "class_numbers"]

Progress = Callable[[int, int], None]
"""`progress(done, total)`."""


@dataclass(frozen=True)
class Job:
    """A model with its tokenizer, and what it is to be asked."""

    pipe: Any
    examples: list[Example]
    given_columns: dict[str, str]
    where: str
    metrics: list[Metric] | None
    """None: the task's usual ones."""
    batch_size: int
    progress: Progress

    @property
    def model(self) -> Any:
        return self.pipe.model

    @property
    def tokenizer(self) -> Any:
        return self.pipe.tokenizer

    def columns(self, usual: Mapping[str, Sequence[str]]) -> Columns:
        return Columns(self.examples, usual, self.given_columns, self.where)

    def batches(self, lengths: Sequence[int], size: int | None = None) -> Iterator[list[int]]:
        """Numbers of examples, the longest together and first, a pass of the model at a time; tells the progress."""
        order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
        size = size or self.batch_size
        for start in range(0, len(order), size):
            yield order[start : start + size]
            self.progress(min(start + size, len(order)), len(order))

    def longest(self) -> int | None:
        """Tokens that the model takes; None: any number."""
        stated = getattr(self.tokenizer, "model_max_length", None)
        if stated is not None and stated < 1 << 30:
            return int(stated)
        positions = getattr(self.model.config, "max_position_embeddings", None) or getattr(
            self.model.config, "n_positions", None
        )
        return int(positions) if positions else None

    def max_length(self, asked: int | None) -> int | None:
        longest = self.longest()
        if asked is None:
            return longest
        if asked < 1 or (longest is not None and asked > longest):
            raise InputError(f"`max_length` is {asked}: it goes from 1 to what the model takes, {longest or 'any number'}.")
        return asked


@dataclass(frozen=True)
class Task:
    """A task: its name, how it is done, and what it gives metrics to compare."""

    name: str
    run: Callable[..., Outcome]
    inputs: tuple[str, ...]
    pipeline: str = ""
    """The pipeline that loads the model; its own name when empty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pipeline", self.pipeline or self.name)


def class_numbers(values: Sequence[Any], config: Any, column: str, where: str) -> list[int]:
    """Labels, by name or number, as the model numbers them.

    Raises:
        InputError: a name that the model does not have, or a number out of range, with the example's number.
    """
    numbers = {str(name): int(number) for number, name in config.id2label.items()}
    found = []
    for place, value in enumerate(values):
        number = numbers.get(value) if isinstance(value, str) else value
        if number is None and isinstance(value, str) and value.strip().lstrip("-").isdigit():
            number = int(value)
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        said = f"Example {place + 1} of `{where}`: the label {value!r} in `{column}`"
        if isinstance(number, bool) or not isinstance(number, int):
            raise InputError(
                f"{said} is none of the model's.{did_you_mean(str(value), numbers)} It has {shorten(numbers, 20)}."
            )
        if not 0 <= number < len(numbers):
            raise InputError(f"{said} is out of range: the model has {len(numbers)}, from 0 to {len(numbers) - 1}.")
        found.append(number)
    return found
