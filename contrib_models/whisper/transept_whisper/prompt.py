"""What a Whisper's decoder begins with: its start, the language, the task, and whether timestamps are to come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from transept.errors import GenerationError

from .languages import TASKS, language_code

__all__ = ["start_tokens"]


def start_tokens(
    config: Any,
    *,
    language: str | Sequence[str] | None,
    task: str | None,
    timestamps: bool,
    batch: int,
    detect: Callable[[], Tensor],
) -> list[list[int]]:
    """The first tokens of each row.

    Args:
        config: the generation's, with `decoder_start_token_id`; of a model of many languages `lang_to_id` and `task_to_id`.
        language: one for all rows, or one a row: a code, a token or an English name; None: it is detected where there are several.
        task: "transcribe" or "translate".
        timestamps: False: the text is to have none.
        detect: gives each row's language token, LongTensor (batch,).

    Raises:
        GenerationError, InputError: what the model has no token for.
    """
    many: dict[str, int] | None = getattr(config, "lang_to_id", None)
    tasks: dict[str, int] | None = getattr(config, "task_to_id", None)
    if (language is not None or task is not None) and getattr(config, "is_multilingual", None) is False:
        raise GenerationError("This model knows English alone, and transcribes: leave `language` and `task` out.")
    forced = [] if language is not None or task is not None else _forced(config)
    rows: list[list[int | None]] = [[config.decoder_start_token_id, *forced] for _ in range(batch)]
    if language is not None:
        found = [language] * batch if isinstance(language, str) else list(language)
        if len(found) != batch or not all(isinstance(each, str) for each in found):
            raise GenerationError(
                f"`language` is {language!r}: give one for all {batch} recordings, or a list with one for each."
            )
        spoken: list[int] | None = [_language_token(each, many) for each in found]
    else:
        undefined = len(rows[0]) < 2 or rows[0][1] is None
        spoken = detect().tolist() if many is not None and undefined else None
    if task is not None and (tasks is None or task not in tasks):
        what = (
            "This model has no tokens for tasks"
            if tasks is None
            else f"The task is one of {', '.join(tasks or TASKS)}, not {task!r}"
        )
        raise GenerationError(f"{what}: see `task_to_id` of its generation config.")
    for row, tokens in enumerate(rows):
        if spoken is not None:
            tokens[1:2] = [spoken[row]]
        if tasks is not None and task is not None:
            tokens.append(tasks[task])
        elif tasks is not None and language is not None:
            tokens.append(tasks["transcribe"])
        without = getattr(config, "no_timestamps_token_id", None)
        if not timestamps and without is not None and tokens[-1] != without:
            tokens.append(without)
        elif timestamps and tokens[-1] == without:
            tokens.pop()
    return [[token for token in tokens if token is not None] for tokens in rows]


def _forced(config: Any) -> list[int | None]:
    """The tokens after the start in `forced_decoder_ids`, pairs of place and token, which older checkpoints hold."""
    pairs = list(getattr(config, "forced_decoder_ids", None) or ())
    if [place for place, _ in pairs] != list(range(1, len(pairs) + 1)):
        raise GenerationError(f"`forced_decoder_ids` is {pairs}: places count from 1 up. Use `language` and `task` instead.")
    return [token for _, token in pairs]


def _language_token(language: str, many: dict[str, int] | None) -> int:
    if many is None:
        raise GenerationError(
            "This model has no tokens for languages (`lang_to_id` of its generation config): leave `language` out."
        )
    token = language if language in many else f"<|{language_code(language)}|>"
    if token not in many:
        raise GenerationError(
            f"This model has no token for the language `{language}`: see `lang_to_id` of its generation config."
        )
    return many[token]
