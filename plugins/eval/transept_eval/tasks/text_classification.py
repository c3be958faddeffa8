"""`text-classification`: labels, several labels, or a number, for a text or a pair of texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from transept.errors import InputError

from ..charts import BarChart, Chart, Histogram, LineChart, MatrixChart
from ..metric import Metric, combined, load_metric
from ..metrics.scores import calibration_bins
from ..results import Outcome, Table
from .job import Job, class_numbers

__all__ = ["text_classification"]

_COLUMNS = {
    "text": ("text", "sentence", "sentence1", "premise", "question1", "question", "content", "body", "review", "message"),
    "text_pair": ("text_pair", "sentence2", "hypothesis", "question2"),
    "label": ("label", "labels", "target", "class", "score"),
}
_WORST = 20


def text_classification(job: Job, *, max_length: int | None = None) -> Outcome:
    """Examples need the columns `text` and `label`, and may have `text_pair`."""
    config = job.model.config
    columns = job.columns(_COLUMNS)
    texts = columns.texts("text", job.examples)
    pairs = columns.texts("text_pair", job.examples) if columns.has("text_pair") else None
    values = columns.values("label", job.examples)
    if config.problem_type == "regression" or config.num_labels == 1:
        wanted: Any = _numbers(values, config.num_labels, columns.name("label"), job.where)
        finish = _regression
    elif config.problem_type == "multi_label_classification":
        wanted = _several(values, config, columns.name("label"), job.where)
        finish = _multi_label
    else:
        wanted = np.array(class_numbers(values, config, columns.name("label"), job.where))
        finish = _single_label
    metrics = _metrics(job, wanted)
    logits, cut = _logits(job, texts, pairs, job.max_length(max_length))
    outcome = finish(job, metrics, logits, wanted)
    for row, text, pair in zip(outcome.predictions, texts, pairs or [None] * len(texts), strict=True):
        row.update({"text": text} if pair is None else {"text": text, "text_pair": pair})
    if cut:
        outcome.notes.append(f"{cut} of {len(texts)} texts were cut to {job.max_length(max_length)} tokens.")
    return outcome


def _metrics(job: Job, wanted: Any) -> list[Metric]:
    """Those asked for, or the usual ones for this kind of labels."""
    config = job.model.config
    if wanted.dtype.kind == "f":
        kinds, usual = ("values",), ["mse", "mae"]
        if len(wanted) > 1 and (np.ptp(wanted, 0) > 0).all():
            usual += ["pearson", "spearman"]
    elif wanted.ndim > 1:
        kinds, usual = ("labels",), ["accuracy", "f1_micro", "f1_macro"]
    else:
        kinds = ("labels", "scores")
        usual = ["accuracy", "f1_macro", "f1_weighted"]
        if config.num_labels == 2:
            usual = ["accuracy", "precision", "recall", "f1"]
        usual += ["matthews_correlation", "log_loss", "calibration_error"]
    for metric in job.metrics or ():
        if metric.inputs not in kinds:
            what = {"f": "a regression", "i": "a classification"}[wanted.dtype.kind]
            raise InputError(
                f"`{metric.name}` compares {metric.inputs}, and the model is for {what}, which gives {' and '.join(kinds)}."
            )
    return job.metrics or [load_metric(name) for name in usual]


def _logits(job: Job, texts: list[str], pairs: list[str] | None, longest: int | None) -> tuple[Any, int]:
    """float32 (n, labels), and how many texts were cut."""
    encoded, cut = [], 0
    for place, text in enumerate(texts):
        pair = None if pairs is None else pairs[place]
        row = job.tokenizer(text, pair, verbose=False)
        if longest is not None and len(row["input_ids"]) > longest:
            row, cut = job.tokenizer(text, pair, truncation=True, max_length=longest, verbose=False), cut + 1
        if not row["input_ids"]:
            raise InputError(f"Example {place + 1} of `{job.where}` has no tokens: leave it out.")
        encoded.append(dict(row))
    lengths = [len(row["input_ids"]) for row in encoded]
    logits: list[Any] = [None] * len(texts)
    size = 1 if job.tokenizer.pad_token_id is None else job.batch_size
    for places in job.batches(lengths, size):
        if size == 1:
            batch = {name: torch.tensor([value]) for name, value in encoded[places[0]].items()}
        else:
            batch = dict(job.tokenizer.pad([encoded[place] for place in places], return_tensors="pt"))
        for place, row in zip(places, job.pipe.forward(batch)["logits"].float().numpy(), strict=True):
            logits[place] = row
    return np.stack(logits), cut


def _single_label(job: Job, metrics: list[Metric], logits: Any, wanted: Any) -> Outcome:
    scores = torch.from_numpy(logits).double().softmax(-1).numpy()
    chosen = scores.argmax(1)
    names = [str(job.model.config.id2label[number]) for number in range(scores.shape[1])]
    numbers = combined(metrics, lambda metric: metric(scores if metric.inputs == "scores" else chosen, wanted))
    rows = [
        {"label": names[true], "prediction": names[ours], "score": round(float(sure[ours]), 6)}
        for true, ours, sure in zip(wanted, chosen, scores, strict=True)
    ]
    matrix = confusion_matrix(wanted, chosen, labels=range(len(names)))
    charts: list[Chart] = [_calibration(scores, wanted)]
    if len(names) <= 40:
        caption = "A row for each label, a column for what the model said. On the diagonal it is right."
        charts.insert(0, MatrixChart("Confusion matrix", caption, names, matrix.tolist()))
    tables = [_table_of_classes(names, wanted, chosen)]
    if len(names) <= 60:
        precision, recall, f1, _ = _by_class(names, wanted, chosen)
        caption = "Precision: of what the model calls so, the share that is. Recall: of what is so, the share that it finds."
        series = {"precision": precision, "recall": recall, "F1": f1}
        charts.insert(1, BarChart("Classes", caption, names, series))
    tables.append(_mistakes(job, rows))
    notes = []
    if any(metric.name in ("precision", "recall", "f1") for metric in metrics):
        notes.append(f"`precision`, `recall` and `f1` are those of the label `{names[1]}`.")
    return Outcome(numbers, rows, tables, charts, notes)


def _by_class(names: list[str], wanted: Any, chosen: Any) -> list[list[float]]:
    """Precision, recall, F1 and support of each class."""
    found = precision_recall_fscore_support(wanted, chosen, labels=range(len(names)), zero_division=0)
    return [each.tolist() for each in found]


def _table_of_classes(names: list[str], wanted: Any, chosen: Any) -> Table:
    columns = zip(names, *_by_class(names, wanted, chosen), strict=True)
    rows = [[name, precision, recall, f1, int(support)] for name, precision, recall, f1, support in columns]
    return Table("Results by class", ("label", "precision", "recall", "F1", "examples"), rows)


def _calibration(scores: Any, wanted: Any) -> LineChart:
    bins = [each for each in calibration_bins(scores, wanted, 10) if each[2]]
    return LineChart(
        "Calibration",
        "How often the model is right, against how sure it is, in ten bins. On the dashed line the two are equal; below it the model is "
        "too sure. A larger dot stands for more examples.",
        [sure for sure, _, _ in bins],
        {"accuracy": [right for _, right, _ in bins]},
        "probability of the predicted label",
        "accuracy",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        diagonal=True,
        weights=[count for _, _, count in bins],
    )


def _mistakes(job: Job, rows: list[dict[str, Any]]) -> Table:
    """The mistakes of which the model is surest."""
    column = job.columns(_COLUMNS).name("text")
    wrong = [(row, example) for row, example in zip(rows, job.examples, strict=True) if row["label"] != row["prediction"]]
    wrong.sort(key=lambda each: -each[0]["score"])
    shown = [[_short(example[column]), row["label"], row["prediction"], row["score"]] for row, example in wrong[:_WORST]]
    caption = f"{len(wrong)} of {len(rows)} are wrong; those that the model is surest of come first."
    return Table("Mistakes", ("text", "label", "prediction", "score"), shown, caption)


def _multi_label(job: Job, metrics: list[Metric], logits: Any, wanted: Any) -> Outcome:
    chosen = (logits > 0).astype(np.int64)
    names = [str(job.model.config.id2label[number]) for number in range(logits.shape[1])]
    numbers = combined(metrics, lambda metric: metric(chosen, wanted))
    rows = [
        {"label": _named(true, names), "prediction": _named(ours, names)} for true, ours in zip(wanted, chosen, strict=True)
    ]
    precision, recall, f1, support = _by_class(names, wanted, chosen)
    series = {"precision": precision, "recall": recall, "F1": f1}
    caption = "Each label is decided by itself: a probability above one half."
    columns = zip(names, precision, recall, f1, support, strict=True)
    table = Table(
        "Results by label", ("label", "precision", "recall", "F1", "examples"), [[*row[:4], int(row[4])] for row in columns]
    )
    return Outcome(numbers, rows, [table], [BarChart("Labels", caption, names, series)])


def _regression(job: Job, metrics: list[Metric], logits: Any, wanted: Any) -> Outcome:
    values = logits[:, 0] if wanted.ndim == 1 else logits
    numbers = combined(metrics, lambda metric: metric(values, wanted))
    rows = [
        {"label": true, "prediction": ours}
        for true, ours in zip(wanted.tolist(), values.astype(np.float64).tolist(), strict=True)
    ]
    errors = (values - wanted).reshape(-1)
    counts, edges = np.histogram(errors, bins=20)
    chart = Histogram("Errors", "Predicted minus wanted.", edges.tolist(), counts.tolist(), "error")
    return Outcome(numbers, rows, [], [chart])


def _numbers(values: Sequence[Any], width: int, column: str, where: str) -> Any:
    """float64 (n,), or (n, width) of several numbers each."""
    found = []
    for place, value in enumerate(values):
        try:
            row = [float(each) for each in (value if isinstance(value, list | tuple) else [value])]
        except (TypeError, ValueError):
            row = []
        if len(row) != width:
            raise InputError(
                f"Example {place + 1} of `{where}`: `{column}` is {value!r:.40}, and the model gives {width} number{'s' * (width > 1)}."
            )
        found.append(row)
    array = np.array(found, dtype=np.float64)
    return array[:, 0] if width == 1 else array


def _several(values: Sequence[Any], config: Any, column: str, where: str) -> Any:
    """0 and 1, int64 (n, labels), out of lists of labels, which a table holds as JSON."""
    found = np.zeros((len(values), config.num_labels), dtype=np.int64)
    for place, value in enumerate(values):
        try:
            labels = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            labels = None
        if not isinstance(labels, list | tuple):
            raise InputError(f"Example {place + 1} of `{where}`: `{column}` is no list of labels but {value!r:.40}.")
        found[place, class_numbers(labels, config, column, where)] = 1
    return found


def _named(flags: Any, names: list[str]) -> list[str]:
    return [name for flag, name in zip(flags, names, strict=True) if flag]


def _short(text: str, most: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
