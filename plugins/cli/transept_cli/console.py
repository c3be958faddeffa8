"""What every command says things with: tables and errors through rich, plain when the output is no terminal."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["err", "load_progress", "out", "print_json", "print_table", "say_error", "size_of"]

out = Console()
err = Console(stderr=True)


def say_error(error: BaseException, debug: bool, said: str | None = None) -> None:
    """One paragraph on stderr; the traceback only when it was asked for."""
    if debug:
        traceback.print_exception(error)
    # no markup: a file name may contain brackets; no wrapping: a program may read it
    text = f"Error: {said or error or type(error).__name__}"
    err.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """JSON on stdout, without colours."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None, styles: Mapping[str, str] | None = None
) -> None:
    """A table; one line a row, tab-separated, when stdout is no terminal."""
    if not out.is_terminal:
        for row in rows:
            sys.stdout.write("\t".join(str(cell) for cell in row) + "\n")
        return
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        style = (styles or {}).get(str(row[-1]), None)
        table.add_row(*[_plain(cell) for cell in row], style=style)
    out.print(table)


def _plain(cell: Any) -> str:
    return str(cell).replace("[", r"\[")


@contextmanager
def load_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A callback `progress(done_bytes, total_bytes)` that draws a bar once loading takes over a second, on a terminal only."""
    if not err.is_terminal:
        yield lambda done, total: None
        return
    bar = Progress(TextColumn(what), BarColumn(), DownloadColumn(), TimeElapsedColumn(), console=err, transient=True)
    task = bar.add_task(what, total=None)
    started = time.monotonic()
    shown = False

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if not shown and time.monotonic() - started > 1.0:
            bar.start()
            shown = True
        bar.update(task, completed=done, total=total)

    try:
        yield progress
    finally:
        bar.stop()


def size_of(count: float) -> str:
    """A number of bytes for people: `538.1 MB` (powers of 1000, as checkpoints are counted)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"
