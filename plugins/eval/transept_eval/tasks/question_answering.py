"""`question-answering`: the part of a text that answers a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from transept.errors import InputError

from ..charts import Histogram
from ..metric import combined, load_metric
from ..metrics.texts import best_of, exactly, token_f1
from ..results import Outcome, Table
from .job import Job

__all__ = ["question_answering"]

_COLUMNS = {"question": ("question",), "context": ("context", "passage", "text"), "answers": ("answers", "answer")}


def question_answering(job: Job, **options: Any) -> Outcome:
    """Examples need the columns `question`, `context` and `answers`: a text, a list of them, or as SQuAD has them. No answer, or an
    empty one, says that the context has none. `options` are those of the pipeline, such as `max_answer_len`."""
    columns = job.columns(_COLUMNS)
    questions, contexts = columns.texts("question", job.examples), columns.texts("context", job.examples)
    name = columns.name("answers")
    references = [_answers(example.get(name), place, name, job.where) for place, example in enumerate(job.examples)]
    impossible = [not any(each) for each in references]
    options.setdefault("max_answer_len", 30)
    options.setdefault("handle_impossible_answer", any(impossible))
    items = [{"question": question, "context": context} for question, context in zip(questions, contexts, strict=True)]
    found: list[Any] = []
    for start in range(0, len(items), job.batch_size):
        found += job.pipe(items[start : start + job.batch_size], batch_size=job.batch_size, **options)
        job.progress(len(found), len(items))
    ours = [each["answer"] for each in found]
    metrics = job.metrics or [load_metric("squad")]
    numbers = combined(metrics, lambda metric: metric(ours, references))
    exact = np.array([best_of(said, true, exactly) for said, true in zip(ours, references, strict=True)])
    overlap = np.array([best_of(said, true, token_f1) for said, true in zip(ours, references, strict=True)])
    if any(impossible) and not all(impossible):
        without = np.array(impossible)
        numbers |= {"has_answer_exact_match": float(exact[~without].mean()), "has_answer_f1": float(overlap[~without].mean())}
        numbers["no_answer_accuracy"] = float(exact[without].mean())
    predictions = [
        {
            "question": question,
            "answers": true,
            "prediction": said["answer"],
            "score": round(float(said["score"]), 6),
            "f1": float(f1),
        }
        for question, true, said, f1 in zip(questions, references, found, overlap, strict=True)
    ]
    counts, edges = np.histogram(overlap, bins=10, range=(0.0, 1.0))
    chart = Histogram("Answers", "F1 of the words of each answer.", edges.tolist(), counts.tolist(), "F1")
    return Outcome(numbers, predictions, [_worst(predictions)], [chart])


def _answers(value: Any, place: int, column: str, where: str) -> list[str]:
    """The answers as texts; one empty text where there is none."""
    texts = value.get("text") if isinstance(value, Mapping) else value
    texts = [texts] if isinstance(texts, str) else texts if texts is not None else []
    found = (
        [each.get("text") if isinstance(each, Mapping) else each for each in texts]
        if isinstance(texts, list | tuple)
        else [None]
    )
    if not all(isinstance(each, str) for each in found):
        raise InputError(f"Example {place + 1} of `{where}`: `{column}` holds no answers but {value!r:.60}.")
    return found or [""]


def _worst(predictions: list[dict[str, Any]]) -> Table:
    wrong = sorted((row for row in predictions if row["f1"] < 1), key=lambda row: (row["f1"], -row["score"]))
    rows = [
        [row["question"][:150], "; ".join(row["answers"])[:120] or "(none)", row["prediction"][:120] or "(none)", row["f1"]]
        for row in wrong[:15]
    ]
    caption = (
        f"{len(wrong)} of {len(predictions)} answers differ; the furthest come first, of those the ones with the highest score."
    )
    return Table("Mistakes", ("question", "answers", "prediction", "F1"), rows, caption)
