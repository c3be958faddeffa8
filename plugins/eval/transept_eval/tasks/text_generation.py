"""`text-generation`: texts that a model writes, against references."""

from __future__ import annotations

from typing import Any

import numpy as np
import sacrebleu

from transept.errors import InputError

from ..charts import Histogram
from ..metric import combined, load_metric
from ..results import Outcome, Table
from .job import Job

__all__ = ["REFERENCE_COLUMNS", "text_generation"]

REFERENCE_COLUMNS = (
    "references",
    "reference",
    "target",
    "targets",
    "answers",
    "answer",
    "output",
    "completion",
    "response",
    "summary",
    "highlights",
    "translation",
)
_COLUMNS = {
    "prompt": ("prompt", "messages", "input", "source", "question", "instruction", "document", "article", "text"),
    "reference": REFERENCE_COLUMNS,
}


def text_generation(job: Job, *, chat: bool = False, prefix: str = "", **options: Any) -> Outcome:
    """Examples need the columns `prompt`, a text or a list of messages, and `reference`, a text or a list of them.

    Args:
        chat: put each prompt into the chat template, as the user's message.
        prefix: put before each prompt, such as `"summarize: "`.
        options: arguments of `generate`. Without others 64 new tokens are the most, and the likeliest ones are taken.
    """
    columns = job.columns(_COLUMNS)
    prompts = columns.values("prompt", job.examples)
    references = columns.values("reference", job.examples)
    for place, (prompt, true) in enumerate(zip(prompts, references, strict=True)):
        _check(place, prompt, true, columns, job.where, chat or bool(prefix))
    both_ends = job.model.config.is_encoder_decoder
    if chat and both_ends:
        raise InputError("`chat` is for decoders with a chat template, and the model is an encoder-decoder: leave it out.")
    given = [[{"role": "user", "content": prefix + each}] if chat else prefix + each if prefix else each for each in prompts]
    if not options.keys() & {"max_new_tokens", "max_length"}:
        options["max_new_tokens"] = 64
    if not options.keys() & {"do_sample", "generation_config"}:
        options["do_sample"] = False
    if not both_ends:
        options["return_full_text"] = False
    ours = _generated(job, given, options)
    metrics = job.metrics or [load_metric(name) for name in ("exact_match", "rouge", "bleu", "chrf")]
    numbers = combined(metrics, lambda metric: metric(ours, references))
    likeness = [_likeness(said, true) for said, true in zip(ours, references, strict=True)]
    predictions = [
        {"prompt": prompt, "reference": true, "prediction": said, "chrf": round(score, 3)}
        for prompt, true, said, score in zip(prompts, references, ours, likeness, strict=True)
    ]
    counts, edges = np.histogram(likeness, bins=20, range=(0.0, 100.0))
    caption = "chrF of each text with its nearest reference: 100 where they are equal."
    chart = Histogram("Likeness", caption, edges.tolist(), counts.tolist(), "chrF")
    settings = {name: value for name, value in options.items() if name != "return_full_text"}
    return Outcome(numbers, predictions, [_furthest(predictions)], [chart], [], {"chat": chat, **settings})


def _check(place: int, prompt: Any, true: Any, columns: Any, where: str, needs_text: bool) -> None:
    said = f"Example {place + 1} of `{where}`"
    if not isinstance(prompt, str) and (needs_text or not isinstance(prompt, list)):
        raise InputError(f"{said}: `{columns.name('prompt')}` is no text but {prompt!r:.40}.")
    texts = [true] if isinstance(true, str) else true
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(each, str) for each in texts):
        raise InputError(f"{said}: `{columns.name('reference')}` is no text, nor a list of texts, but {true!r:.40}.")


def _generated(job: Job, prompts: list[Any], options: dict[str, Any]) -> list[str]:
    """What the model writes, without space around it. Prompts of like lengths go together."""
    found = [""] * len(prompts)
    size = 1 if job.tokenizer.pad_token_id is None else job.batch_size
    for places in job.batches([len(str(prompt)) for prompt in prompts], size):
        results = job.pipe([prompts[place] for place in places], batch_size=size, **options)
        for place, result in zip(places, results, strict=True):
            first = result[0] if isinstance(result, list) else result
            found[place] = first["generated_text"].strip()
    return found


def _likeness(said: str, true: Any) -> float:
    return max(sacrebleu.sentence_chrf(said, [each]).score for each in ([true] if isinstance(true, str) else true))


def _furthest(predictions: list[dict[str, Any]]) -> Table:
    rows = sorted(predictions, key=lambda row: row["chrf"])[:15]
    shown = [
        [_short(row["prompt"]), _short(row["reference"]), _short(row["prediction"]) or "(nothing)", row["chrf"]] for row in rows
    ]
    return Table("Furthest from their references", ("prompt", "reference", "prediction", "chrF"), shown)


def _short(value: Any, most: int = 160) -> str:
    text = " ".join((value if isinstance(value, str) else "; ".join(map(_said, value))).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _said(part: Any) -> str:
    """A reference, or a message of a chat."""
    return part if isinstance(part, str) else f"{part.get('role', '')}: {part.get('content', '')}"
