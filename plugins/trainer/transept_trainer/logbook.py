"""The record of a run beside its checkpoints: `log.jsonl`, a line for each log, and `loss.svg`, the curves."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path
from typing import Any

from transept.errors import SaveError
from transept.files import atomic_write_bytes, atomic_write_text

from .notices import notice

__all__ = ["Logbook", "draw_losses"]

LOG, CURVE = "log.jsonl", "loss.svg"
_POINTS = 600
"""More than a picture shows; longer curves are thinned."""


class Logbook:
    """Writes both files. A log that cannot be written, for want of space, is said once and does not stop the run."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.well = True

    def begin(self, history: list[dict[str, Any]]) -> None:
        """Start the log with what a resumed run had logged: later lines of a run that was killed go."""
        self._attempt(lambda: atomic_write_text(self.folder / LOG, "".join(_line(entry) for entry in history)))

    def add(self, entry: dict[str, Any]) -> None:
        def append() -> None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / LOG, "a", encoding="utf-8") as file:
                file.write(_line(entry))

        self._attempt(append)

    def draw(self, history: list[dict[str, Any]]) -> None:
        picture = draw_losses(history)
        if picture is not None:
            self._attempt(lambda: atomic_write_bytes(self.folder / CURVE, picture))

    def _attempt(self, write: Any) -> None:
        if not self.well:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write()
        except (OSError, SaveError) as error:
            self.well = False
            notice(f"The log in `{self.folder}` cannot be written, and is left out from here on: {error}", logging.WARNING)


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, default=float) + "\n"


def draw_losses(history: list[dict[str, Any]]) -> bytes | None:
    """An SVG of the losses over steps: of training, and of each evaluation; None where fewer than two points are known."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in history:
        for name, value in entry.items():
            is_loss = (name == "loss" or name.endswith("_loss")) and name != "train_loss"
            if is_loss and isinstance(value, int | float) and math.isfinite(value):
                curves.setdefault("training" if name == "loss" else name, []).append((entry.get("step", 0), value))
    if max(map(len, curves.values()), default=0) < 2:
        return None
    import pygal
    from pygal.style import LightColorizedStyle

    chart = pygal.XY(
        title="Loss",
        x_title="step",
        show_dots=max(map(len, curves.values())) <= 40,
        style=LightColorizedStyle,
        width=900,
        height=480,
        js=(),
        legend_at_bottom=True,
        value_formatter=lambda value: f"{value:.4g}",
        x_value_formatter=lambda value: f"{value:.0f}",
    )
    for name, points in curves.items():
        every = math.ceil(len(points) / _POINTS)
        kept = points[::every]
        chart.add(name, kept if kept[-1] == points[-1] else [*kept, points[-1]])
    # without its script: the picture is shown in pages that we know nothing of
    return re.sub(rb"<script.*?</script>", b"", chart.render(), flags=re.DOTALL)
