"""`language-modeling`: the perplexity of texts, read through windows that overlap.

Each token is scored once, with all the tokens of its window before it: of a text that is longer than the window, windows begin
`stride` tokens apart, and each scores the tokens that those before it did not reach. The first token of a text has nothing
before it and is not scored; a tokenizer that begins with a special token gives it one.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transept.errors import InputError

from ..charts import Chart, Histogram, LineChart
from ..results import Outcome, Table
from .job import Job

__all__ = ["language_modeling", "windows_of"]

_COLUMNS = {"text": ("text", "content", "body", "sentence", "document")}
_USUAL_WINDOW = 1024
_SEGMENTS = 60


def language_modeling(job: Job, *, window: int | None = None, stride: int | None = None) -> Outcome:
    """Examples need the column `text`; each is read by itself, and all tokens count alike.

    Args:
        window: tokens in one pass of the model; what it takes, and at most 1,024.
        stride: tokens from one window to the next; half a window.
    """
    columns = job.columns(_COLUMNS)
    texts = columns.texts("text", job.examples)
    window, stride = _sizes(job, window, stride)
    rows = [job.tokenizer(text, verbose=False)["input_ids"] for text in texts]
    found = _negative_log_likelihoods(job, rows, window, stride)
    scored = np.concatenate(found)
    if not scored.size:
        raise InputError(f"`{job.where}` has no text of two tokens or more: there is nothing to predict.")
    mean = float(scored.mean())
    names = [metric.name for metric in job.metrics or ()]
    if names not in ([], ["perplexity"]):
        raise InputError("`language-modeling` measures `perplexity` alone: leave `metrics` out.")
    text_bytes = sum(len(text.encode()) for text in texts)
    numbers = {"perplexity": math.exp(mean), "nll": mean, "bits_per_byte": float(scored.sum()) / math.log(2) / text_bytes}
    predictions = [
        {"text": text, "tokens": len(nll), "nll": float(nll.mean()) if len(nll) else None}
        for text, nll in zip(texts, found, strict=True)
    ]
    charts: list[Chart] = [_along(found) if len(texts) == 1 else _spread(found), _histogram(scored)]
    notes = []
    if short := sum(len(nll) == 0 for nll in found):
        notes.append(f"{short} of {len(texts)} texts have fewer than two tokens, and count for nothing.")
    settings = {"window": f"{window} tokens", "stride": f"{stride} tokens", "scored tokens": f"{len(scored):,}"}
    return Outcome(numbers, predictions, [_hardest(job, rows, found)], charts, notes, settings)


def _sizes(job: Job, window: int | None, stride: int | None) -> tuple[int, int]:
    longest = job.longest()
    positions = getattr(job.model.config, "max_position_embeddings", None) or getattr(job.model.config, "n_positions", None)
    longest = min((each for each in (longest, positions) if each), default=None)
    if window is None:
        window = min(longest or _USUAL_WINDOW, _USUAL_WINDOW)
    elif window < 2 or (longest is not None and window > longest):
        raise InputError(f"`window` is {window}: it goes from 2 to what the model takes, {longest or 'any number of'} tokens.")
    if stride is None:
        stride = max(window // 2, 1)
    elif not 1 <= stride < window:
        raise InputError(f"`stride` is {stride}: it goes from 1 to less than the window, which is {window} tokens.")
    return window, stride


def windows_of(length: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(first token, end, how many of its last tokens are scored), for a text of so many tokens."""
    reached = 1  # the first token is not scored
    for first in range(0, length, stride):
        end = min(first + window, length)
        if end > reached:
            yield first, end, end - reached
        reached = end
        if end == length:
            return


def _negative_log_likelihoods(job: Job, rows: list[list[int]], window: int, stride: int) -> list[Any]:
    """For each row those of its tokens from the second on, in nats: float64 (tokens - 1,)."""
    found = [np.zeros(max(len(row) - 1, 0)) for row in rows]
    windows = [(place, *each) for place, row in enumerate(rows) for each in windows_of(len(row), window, stride)]
    # windows of one shape go together: nothing is padded, and each is what it would be alone
    shapes: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
    for each in windows:
        shapes.setdefault((each[2] - each[1], each[3]), []).append(each)
    done = 0
    for (_, scored), members in sorted(shapes.items(), reverse=True):
        for start in range(0, len(members), job.batch_size):
            group = members[start : start + job.batch_size]
            ids = torch.tensor([rows[place][first:end] for place, first, end, _ in group], device=job.model.device)
            for (place, _, end, _), nll in zip(group, _scores(job.model, ids, scored), strict=True):
                found[place][end - 1 - scored : end - 1] = nll.cpu().numpy()
            done += len(group)
            job.progress(done, len(windows))
    return found


def _scores(model: Any, ids: Tensor, scored: int) -> Tensor:
    """Negative log likelihoods of the last `scored` tokens, float32 (batch, scored)."""
    takes = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"use_cache": False} if "use_cache" in takes else {}
    if "logits_to_keep" in takes:
        options["logits_to_keep"] = scored + 1
    logits = model(ids, **options).logits[:, -scored - 1 : -1]  # (batch, scored, vocab): each is for the token after it
    targets = ids[:, -scored:]
    # row by row, for float32 of a whole batch over a large vocabulary takes gigabytes
    rows = [
        torch.nn.functional.cross_entropy(row.float(), target, reduction="none")
        for row, target in zip(logits, targets, strict=True)
    ]
    return torch.stack(rows)


def _along(found: list[Any]) -> LineChart:
    """How surprising the text is, from its beginning to its end."""
    nll = found[0]
    pieces = np.array_split(nll, min(_SEGMENTS, len(nll)))
    starts = np.cumsum([0, *(len(piece) for piece in pieces[:-1])])
    means = [float(piece.mean()) for piece in pieces]
    caption = f"Mean negative log likelihood of about {len(pieces[0])} tokens at a time. Lower is better predicted."
    middles = [float(start) + len(piece) / 2 for start, piece in zip(starts, pieces, strict=True)]
    return LineChart("Along the text", caption, middles, {"nll": means}, "token", "nats a token", y_range=(0.0, max(means)))


def _spread(found: list[Any]) -> Histogram:
    means = [float(nll.mean()) for nll in found if len(nll)]
    counts, edges = np.histogram(means, bins=20)
    caption = "Mean negative log likelihood of each text. Lower is better predicted."
    return Histogram("Texts", caption, edges.tolist(), counts.tolist(), "nats a token")


def _histogram(scored: Any) -> Histogram:
    counts, edges = np.histogram(scored, bins=30, range=(0.0, max(float(scored.max()), 1e-3)))
    caption = (
        f"Half of the tokens have less than {np.median(scored):.2f} nats, a tenth more than {np.quantile(scored, 0.9):.2f}."
    )
    return Histogram("Tokens", caption, edges.tolist(), counts.tolist(), "negative log likelihood, nats")


def _hardest(job: Job, rows: list[list[int]], found: list[Any]) -> Table:
    """The least expected tokens, with what comes before them."""
    places = [(float(value), row, token + 1) for row, nll in enumerate(found) for token, value in enumerate(nll)]
    places.sort(key=lambda each: -each[0])
    decode = job.tokenizer.decode
    shown = [
        # in quotes, as JSON has it: many a token is a space or the end of a line
        [
            "…" + decode(rows[row][max(0, token - 12) : token])[-70:],
            json.dumps(decode([rows[row][token]]), ensure_ascii=False),
            value,
        ]
        for value, row, token in places[:15]
    ]
    return Table("Least expected tokens", ("after", "came", "nats"), shown)
