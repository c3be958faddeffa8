"""`Evaluation`: what came out, and its reports."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import jinja2

from transept.errors import SaveError
from transept.files import atomic_write_text

from .charts import Chart

__all__ = ["Evaluation", "Outcome", "Table", "shown"]


@dataclass(frozen=True)
class Table:
    """Rows under a title."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass
class Outcome:
    """What a task found: numbers, a row for each example, and what there is to be looked at."""

    metrics: dict[str, float]
    predictions: list[dict[str, Any]]
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Evaluation:
    """An evaluation's results.

    Attributes:
        metrics: the numbers by name.
        predictions: a dict for each example, in their order: what was given, wanted and predicted.
        task, model, dataset, examples, seconds: what was done.
        settings: how: dtype, device, batch size, windows, versions.
        notes: what a reader has to know, such as texts that were cut.
        tables, charts: what the reports show.
    """

    task: str
    model: str
    dataset: str
    examples: int
    seconds: float
    metrics: dict[str, float]
    predictions: list[dict[str, Any]]
    settings: dict[str, Any]
    notes: list[str]
    tables: list[Table]
    charts: list[Chart]

    def to_dict(self) -> dict[str, Any]:
        """Everything but tables, charts and predictions, as JSON takes it; a number that is none is None."""
        return {
            "task": self.task,
            "model": self.model,
            "dataset": self.dataset,
            "examples": self.examples,
            "seconds": round(self.seconds, 3),
            "metrics": {name: value if math.isfinite(value) else None for name, value in self.metrics.items()},
            "settings": self.settings,
            "notes": self.notes,
        }

    def to_markdown(self, pictures: Mapping[str, str] | None = None) -> str:
        """The report in Markdown. `pictures` leads from a chart's title to its file; without it charts are left out."""
        blocks = [f"# {self.task}: {escape(self.model, quote=False)} on {escape(self.dataset, quote=False)}", self._summary()]
        blocks += [f"> {escape(note, quote=False)}" for note in self.notes]
        blocks += ["## Metrics", _markdown_table(("metric", "value"), [(f"`{n}`", shown(v)) for n, v in self.metrics.items()])]
        if pictures is not None:
            for chart in self.charts:
                blocks += [f"## {chart.title}", f"![{chart.title}]({pictures[chart.title]})", chart.caption]
        for table in self.tables:
            blocks += [f"## {table.title}", table.caption, _markdown_table(table.columns, table.rows)]
        blocks += ["## Settings", _markdown_table(("setting", "value"), list(self.settings.items()))]
        return "\n\n".join(block for block in blocks if block) + "\n"

    def to_html(self) -> str:
        """The report as one HTML page that needs nothing else: charts are in it, and there is no script."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("transept_eval", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        page = environment.get_template("report.html.jinja")
        return page.render(report=self, summary=self._summary(), shown=shown)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write `report.html`, `report.md` with its `charts/`, `metrics.json` and `predictions.jsonl`; gives their paths.

        Raises:
            SaveError: they cannot be written.
        """
        place = Path(folder)
        pictures = {chart.title: f"charts/{_file_name(chart.title)}.svg" for chart in self.charts}
        rows = [json.dumps(row, ensure_ascii=False, default=str) for row in self.predictions]
        contents = {
            "report.html": self.to_html(),
            "report.md": self.to_markdown(pictures),
            "metrics.json": json.dumps(self.to_dict(), indent=2, ensure_ascii=False, default=str) + "\n",
            "predictions.jsonl": "".join(row + "\n" for row in rows),
            **{pictures[chart.title]: chart.svg() for chart in self.charts},
        }
        try:
            (place / "charts").mkdir(parents=True, exist_ok=True)
            for name, text in contents.items():
                atomic_write_text(place / name, text)
        except OSError as error:
            raise SaveError(f"The report cannot be written to `{place}`: {error}.") from error
        return [place / name for name in contents]

    def _summary(self) -> str:
        noun = "example" if self.examples == 1 else "examples"
        return f"{self.examples:,} {noun} in {self.seconds:.1f} s."

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={shown(value)}" for name, value in self.metrics.items())
        return f"Evaluation({self.task}, {self.examples} examples: {numbers})"


def shown(value: Any) -> str:
    """A value for people: numbers with four digits after the point, or as many as tell them apart from 0."""
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else str(value)
    return f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.3g}"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    """A value in one cell: nothing in it ends the cell, or becomes markup."""
    text = " ".join(shown(value).split())
    text = escape(text, quote=False)
    return text if text.startswith("`") else "".join("\\" + each if each in "|*_[]`" else each for each in text)


def _file_name(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower()).strip("-")
