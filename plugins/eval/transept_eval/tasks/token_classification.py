"""`token-classification`: a tag for each word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transept_pipelines.model_inputs import knows_characters

from transept.errors import InputError, shorten

from ..charts import BarChart
from ..metric import Metric, combined, load_metric
from ..metrics.entities import counts_of_kinds, scores_of
from ..results import Outcome, Table
from .job import Job, class_numbers

__all__ = ["token_classification"]

_COLUMNS = {"tokens": ("tokens", "words"), "tags": ("tags", "ner_tags", "labels", "pos_tags", "label")}


def token_classification(job: Job, *, max_length: int | None = None) -> Outcome:
    """Examples need the columns `tokens`, a list of words, and `tags`, a name or number for each. A word has the tag of its first
    token; a word past the model's length counts as `O`."""
    if not knows_characters(job.tokenizer):
        raise InputError("Tags are of words, and this tokenizer does not say which word a token is of: use the fast one.")
    columns = job.columns(_COLUMNS)
    words = columns.values("tokens", job.examples)
    wanted = _tags(columns.values("tags", job.examples), words, job, columns.name("tokens"), columns.name("tags"))
    ours, unseen = _predicted(job, words, job.max_length(max_length))
    entities = any(tag[:2] in ("B-", "I-", "S-", "E-") for row in wanted for tag in row)
    metrics = job.metrics or [load_metric(name) for name in (["seqeval"] if entities else ["accuracy", "f1_macro"])]
    flat = _flat(ours, wanted)
    numbers = combined(metrics, lambda metric: _compare(metric, ours, wanted, flat))
    predictions = [
        {"tokens": row, "tags": true, "prediction": said} for row, true, said in zip(words, wanted, ours, strict=True)
    ]
    kinds = _kinds(ours, wanted) if entities else _single_tags(ours, wanted)
    rows = [[name, *scores_of(*counts), counts[2]] for name, counts in kinds.items()]
    what = "entity" if entities else "tag"
    notes = [f"{unseen} words gave the model nothing to see, or lie past its length, and count as `O`."] if unseen else []
    unknown = {tag for row in wanted for tag in row} - set(map(str, job.model.config.id2label.values()))
    if unknown:
        notes.append(f"The model does not know {shorten(sorted(unknown), 10)}, and cannot be right there.")
    series = {"precision": [row[1] for row in rows], "recall": [row[2] for row in rows], "F1": [row[3] for row in rows]}
    caption = "An entity is right when its kind, beginning and end are." if entities else "Of each tag by itself."
    chart = BarChart(f"Results by {what}", caption, [row[0] for row in rows], series)
    table = Table(f"By {what}", (what, "precision", "recall", "F1", "in the data"), rows)
    return Outcome(numbers, predictions, [table, _differing(predictions)], [chart] if rows else [], notes)


def _tags(rows: list[Any], words: list[Any], job: Job, tokens: str, tags: str) -> list[list[str]]:
    """The names of all tags. Raises InputError: a row that does not fit its words, a number out of range, or none known."""
    names = {int(number): str(name) for number, name in job.model.config.id2label.items()}
    found = []
    for place, (row, sentence) in enumerate(zip(rows, words, strict=True)):
        said = f"Example {place + 1} of `{job.where}`"
        if (
            not isinstance(sentence, Sequence)
            or isinstance(sentence, str)
            or not all(isinstance(word, str) for word in sentence)
        ):
            raise InputError(f"{said}: `{tokens}` is no list of words but {sentence!r:.40}.")
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != len(sentence):
            count = len(row) if isinstance(row, Sequence) else "no"
            raise InputError(f"{said}: `{tags}` has {count} tags for {len(sentence)} words.")
        numbers = iter(class_numbers([tag for tag in row if not isinstance(tag, str)], job.model.config, tags, job.where))
        found.append([tag if isinstance(tag, str) else names[next(numbers)] for tag in row])
    present = {tag for row in found for tag in row}
    if not present & set(names.values()):
        raise InputError(
            f"`{job.where}` has the tags {shorten(sorted(present))}, and the model knows none of them: it has {shorten(names.values(), 20)}."
        )
    return found


def _predicted(job: Job, words: list[list[str]], longest: int | None) -> tuple[list[list[str]], int]:
    """The tags of all words, and for how many the model saw no token."""
    names = job.model.config.id2label
    encoded, firsts = [], []
    for sentence in words:
        row = job.tokenizer(
            sentence, is_split_into_words=True, truncation=longest is not None, max_length=longest, verbose=False
        )
        first: dict[int, int] = {}
        for place, word in enumerate(row.word_ids()):
            if word is not None:
                first.setdefault(word, place)
        encoded.append(dict(row))
        firsts.append(first)
    found = [["O"] * len(sentence) for sentence in words]
    size = 1 if job.tokenizer.pad_token_id is None else job.batch_size
    for places in job.batches([len(row["input_ids"]) for row in encoded], size):
        rows = [encoded[place] for place in places]
        batch = (
            {name: torch.tensor([value]) for name, value in rows[0].items()}
            if size == 1
            else dict(job.tokenizer.pad(rows, return_tensors="pt"))
        )
        chosen = job.pipe.forward(batch)["logits"].argmax(-1)  # (batch, seq)
        for place, tags in zip(places, chosen.tolist(), strict=True):
            # filled on the left, a row's own tokens are its last
            shift = len(tags) - len(encoded[place]["input_ids"]) if job.tokenizer.padding_side == "left" else 0
            for word, token in firsts[place].items():
                found[place][word] = str(names[tags[token + shift]])
    unseen = sum(len(sentence) - len(first) for sentence, first in zip(words, firsts, strict=True))
    return found, unseen


def _flat(ours: list[list[str]], wanted: list[list[str]]) -> tuple[list[int], list[int]]:
    """All tags as numbers."""
    numbers = {tag: number for number, tag in enumerate(sorted({tag for row in [*ours, *wanted] for tag in row}))}
    return [numbers[tag] for row in ours for tag in row], [numbers[tag] for row in wanted for tag in row]


def _compare(metric: Metric, ours: Any, wanted: Any, flat: tuple[list[int], list[int]]) -> dict[str, float]:
    return metric(ours, wanted) if metric.inputs == "tags" else metric(*flat)


def _kinds(ours: list[list[str]], wanted: list[list[str]]) -> dict[str, tuple[int, int, int]]:
    return counts_of_kinds(ours, wanted)


def _single_tags(ours: list[list[str]], wanted: list[list[str]]) -> dict[str, tuple[int, int, int]]:
    """For each tag: how often it is right, given and true."""
    said, true = ([tag for row in rows for tag in row] for rows in (ours, wanted))
    names = sorted({*said, *true})
    return {
        name: (sum(a == b == name for a, b in zip(said, true, strict=True)), said.count(name), true.count(name))
        for name in names
    }


def _differing(predictions: list[dict[str, Any]]) -> Table:
    """Sentences with wrong tags, those with the most first."""
    found = []
    for row in predictions:
        wrong = [
            f"{word}: {true}, not {said}"
            for word, true, said in zip(row["tokens"], row["tags"], row["prediction"], strict=True)
            if true != said
        ]
        if wrong:
            found.append((len(wrong), " ".join(row["tokens"]), "; ".join(wrong)))
    found.sort(key=lambda each: -each[0])
    caption = f"{len(found)} of {len(predictions)} sentences have a wrong tag; those with the most come first."
    return Table("Mistakes", ("sentence", "wrong"), [[text[:200], said[:300]] for _, text, said in found[:15]], caption)
