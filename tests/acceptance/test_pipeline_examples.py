"""The page and the examples about pipelines say what really happens: they are run, and what they print is compared."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "pipelines.md"


@pytest.mark.slow
def test_the_page_prints_what_it_says() -> None:
    """Blocks of Python with an output below, in one process from top to bottom."""
    blocks = re.findall(r"```python\n((?:(?!```).)*)```\n\n```text\n((?:(?!```).)*)```", PAGE.read_text(), re.S)
    assert len(blocks) >= 6
    names: dict[str, object] = {"__name__": "page"}
    for code, said in blocks:
        screen = io.StringIO()
        with contextlib.redirect_stdout(screen):
            exec(code, names)
        assert screen.getvalue() == said


def test_every_installed_task_stands_on_the_page() -> None:
    from transept import registry

    page = PAGE.read_text()
    ours = [entry.key for entry in registry.entries("pipelines") if entry.dist in ("transept-pipelines", "transept-sentence")]
    assert len(ours) == 13
    assert not [task for task in ours if f"`{task}`" not in page]


def run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "examples" / name)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_pipelines_example_learns_and_predicts() -> None:
    shown = run("pipelines.py")
    assert "Paris" in shown
    for line in (
        "come again. POSITIVE",
        "pay for this. NEGATIVE",
        "PER laura miller 10 22",
        "PER david wilson 27 39",
        "LOC madrid 43 49",
    ):
        assert line in shown, shown


@pytest.mark.slow
def test_the_search_example_finds_each_answer() -> None:
    shown = run("sentence_similarity.py")
    assert "Do you take Visa? -> You can pay by card" in shown
