"""Charts as SVG that stands alone: no script, no font and no style sheet from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["BarChart", "Chart", "Histogram", "LineChart", "MatrixChart"]

_INK, _SOFT, _GRID = "#1f2937", "#6b7280", "#e5e7eb"
_COLOURS = ("#2563eb", "#f59e0b", "#10b981", "#ef4444")
_WIDTH = 680
_LETTER = 6.6
"""Width of a letter of the 12 pixel font, pixels."""


@dataclass(frozen=True)
class Chart:
    """A picture with a title and a line that says what is seen."""

    title: str
    caption: str

    def svg(self) -> str:
        """The whole `<svg>` element."""
        raise NotImplementedError


@dataclass(frozen=True)
class BarChart(Chart):
    """Bars side by side, a group for each label: for shares from 0 to 1."""

    labels: Sequence[str]
    series: Mapping[str, Sequence[float]]

    def svg(self) -> str:
        left = min(220.0, max((len(_cut(label)) for label in self.labels), default=0) * _LETTER + 16)
        thickness = 12 if len(self.series) > 1 else 18
        group = thickness * len(self.series) + 10
        top, bottom = (34 if len(self.series) > 1 else 12), 28
        height = top + group * len(self.labels) + bottom
        right = 52
        across = _Scale(0.0, 1.0, left, _WIDTH - right)
        parts = [_vertical(across(tick), top, height - bottom, _number(tick)) for tick in (0.0, 0.25, 0.5, 0.75, 1.0)]
        parts += _legend(list(self.series), left) if len(self.series) > 1 else []
        for place, label in enumerate(self.labels):
            y = top + place * group + 5
            parts.append(_text(left - 8, y + (group - 10) / 2 + 4, _cut(label), "end", title=label))
            for number, (name, values) in enumerate(self.series.items()):
                value, at = values[place], y + number * thickness
                said = f"{label}, {name}: {value:.4f}"
                parts.append(_box(left, at, across(value) - left, thickness - 2, _COLOURS[number % 4], said))
                parts.append(_text(across(value) + 4, at + thickness - 4, f"{value:.3f}", size=11, colour=_SOFT))
        return _svg(self.title, height, parts)


@dataclass(frozen=True)
class MatrixChart(Chart):
    """Counts of pairs, darker where a row has more of its own: a confusion matrix."""

    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    """A row for each label of the references, a column for each predicted one."""

    def svg(self) -> str:
        size = len(self.labels)
        left = min(180.0, max(len(_cut(label, 24)) for label in self.labels) * _LETTER + 34)
        cell = min(84.0, (_WIDTH - left - 20) / size)
        slanted = any(len(label) * _LETTER > cell - 4 for label in self.labels)
        top = (min(150.0, max(len(_cut(label, 24)) for label in self.labels) * _LETTER * 0.72 + 30)) if slanted else 46.0
        parts = [
            _text(left + cell * size / 2, 14, "predicted", "middle", colour=_SOFT),
            _text(14, top + cell * size / 2, "labelled", "middle", colour=_SOFT, turn=-90),
        ]
        for place, label in enumerate(self.labels):
            at = left + (place + 0.5) * cell
            parts.append(_text(left - 8, top + (place + 0.5) * cell + 4, _cut(label, 24), "end", title=label))
            parts.append(
                _text(at, top - 8, _cut(label, 24), "start" if slanted else "middle", turn=-45 if slanted else 0, title=label)
            )
        for row, counts in enumerate(self.counts):
            total = sum(counts) or 1
            for column, count in enumerate(counts):
                x, y, share = left + column * cell, top + row * cell, count / total
                said = f"{self.labels[row]} taken for {self.labels[column]}: {count} ({share:.1%})"
                colour = _mix(_COLOURS[0] if row == column else _COLOURS[3], share)
                parts.append(_box(x + 1, y + 1, cell - 2, cell - 2, colour, said))
                if cell >= 22:
                    ink = "#ffffff" if share > 0.55 else _INK
                    parts.append(
                        _text(x + cell / 2, y + cell / 2 + 4, str(count), "middle", colour=ink, size=12 if cell > 30 else 9)
                    )
        return _svg(self.title, top + cell * size + 12, parts)


@dataclass(frozen=True)
class Histogram(Chart):
    """How many values fall between the edges."""

    edges: Sequence[float]
    counts: Sequence[int]
    x_label: str

    def svg(self) -> str:
        height, left, top = 260, 58.0, 14.0
        across = _Scale(self.edges[0], self.edges[-1], left, _WIDTH - 20)
        up = _Scale(0.0, float(max(*self.counts, 1)), height - 44.0, top)
        parts = _axes(across, up, height, self.x_label, "count")
        for count, low, high in zip(self.counts, self.edges, self.edges[1:], strict=False):
            said = f"{_number(low)} to {_number(high)}: {count}"
            x, y = across(low) + 0.5, up(count)
            parts.append(_box(x, y, max(across(high) - x - 0.5, 0.5), height - 44 - y, _COLOURS[0], said))
        return _svg(self.title, height, parts)


@dataclass(frozen=True)
class LineChart(Chart):
    """Lines over numbers; a value that is None leaves a gap."""

    x: Sequence[float]
    series: Mapping[str, Sequence[float | None]]
    x_label: str
    y_label: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    diagonal: bool = False
    """Draw where both axes are equal."""
    weights: Sequence[float] | None = None
    """How much each point stands for: the areas of the dots."""

    def svg(self) -> str:
        height, left, top = 280, 62.0, 34.0 if len(self.series) > 1 else 14.0
        values = [value for line in self.series.values() for value in line if value is not None]
        across = _Scale(*(self.x_range or (min(self.x), max(self.x))), left, _WIDTH - 20)
        low, high = self.y_range or (min(values), max(values))
        up = _Scale(low, high, height - 44.0, top)
        parts = _axes(across, up, height, self.x_label, self.y_label)
        parts += _legend(list(self.series), left) if len(self.series) > 1 else []
        if self.diagonal:
            ends = max(low, across.low), min(high, across.high)
            line = f'x1="{across(ends[0]):.1f}" y1="{up(ends[0]):.1f}" x2="{across(ends[1]):.1f}" y2="{up(ends[1]):.1f}"'
            parts.append(f'<line {line} stroke="{_SOFT}" stroke-dasharray="4 4"/>')
        for number, (name, line_of) in enumerate(self.series.items()):
            colour = _COLOURS[number % 4]
            radii = self._radii()
            points = [
                (across(x), up(y), x, y, radius) for x, y, radius in zip(self.x, line_of, radii, strict=True) if y is not None
            ]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y, *_ in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>')
            if len(points) <= 60:
                parts += [
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"><title>{escape(name)}: {_number(value)} at '
                    f"{_number(at)}</title></circle>"
                    for x, y, at, value, radius in points
                ]
        return _svg(self.title, height, parts)

    def _radii(self) -> list[float]:
        if self.weights is None:
            return [3.0] * len(self.x)
        return [2.5 + 7.5 * math.sqrt(weight / max(self.weights)) for weight in self.weights]


class _Scale:
    """From numbers to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if high <= low:
            low, high = low - 0.5, low + 0.5
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers, about five."""
        raw = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _axes(across: _Scale, up: _Scale, height: float, x_label: str, y_label: str) -> list[str]:
    parts = []
    for tick in up.ticks():
        y = up(tick)
        parts.append(f'<line x1="{across.start:.1f}" y1="{y:.1f}" x2="{across.end:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>')
        parts.append(_text(across.start - 6, y + 4, _number(tick), "end", size=11, colour=_SOFT))
    parts += [_text(across(tick), height - 28, _number(tick), "middle", size=11, colour=_SOFT) for tick in across.ticks()]
    parts.append(_text((across.start + across.end) / 2, height - 8, x_label, "middle", colour=_SOFT))
    parts.append(_text(13, (up.start + up.end) / 2, y_label, "middle", colour=_SOFT, turn=-90))
    return parts


def _vertical(x: float, top: float, bottom: float, label: str) -> str:
    line = f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="{_GRID}"/>'
    return line + _text(x, bottom + 16, label, "middle", size=11, colour=_SOFT)


def _legend(names: Sequence[str], left: float) -> list[str]:
    parts, x = [], left
    for number, name in enumerate(names):
        parts += [_box(x, 8, 11, 11, _COLOURS[number % 4]), _text(x + 16, 18, name)]
        x += 34 + len(name) * _LETTER
    return parts


def _box(x: float, y: float, width: float, height: float, colour: str, said: str = "") -> str:
    inside = f"<title>{escape(said)}</title>" if said else ""
    size = f'width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} rx="1.5" fill="{colour}">{inside}</rect>'


def _text(
    x: float, y: float, text: str, anchor: str = "start", *, size: int = 12, colour: str = _INK, turn: int = 0, title: str = ""
) -> str:
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    hint = f"<title>{escape(title)}</title>" if title and title != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{turned}>{hint}{escape(text)}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" height="{height:.0f}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif">'
        f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _mix(colour: str, share: float) -> str:
    """A colour on white, as strong as the share."""
    strength = 0.04 + 0.96 * share if share else 0.0
    channels = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - (255 - each) * strength):02x}" for each in channels)


def _cut(label: str, most: int = 30) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _number(value: float) -> str:
    """Short, without trailing zeros."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
