"""Runs in processes of their own that are killed at random steps, and go on as if they had not been."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "a_run.py"


def begin(folder: Path, kind: str, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), kind, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(run: subprocess.Popen[str]) -> dict:
    out, said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    return json.loads(out.strip().splitlines()[-1])


def stop_at(folder: Path, kind: str, step: int, number: int, *options: str) -> tuple[int, str]:
    """Send a signal when a step is reported, which comes to the process in the middle of what follows."""
    run = begin(folder, kind, "--slow", "0.02", *options)
    assert run.stdout is not None
    for line in run.stdout:
        if line.strip() == f"step {step}":
            run.send_signal(number)
            break
    _, said = run.communicate(timeout=300)
    return run.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["map", "stream", "workers", "plain"])
def test_kill_9_at_a_random_step(kind: str, tmp_path: Path) -> None:
    """Map-style and iterable data, worker processes, and an optimizer and schedule with states of another kind."""
    whole = finish(begin(tmp_path / "whole", kind))
    first, second = sorted(random.sample(range(4, whole["step"]), 2))
    cut = tmp_path / "cut"
    code, _ = stop_at(cut, kind, first, signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, said = stop_at(cut, kind, second, signal.SIGKILL, "--resume")
    assert code == -signal.SIGKILL, said
    resumed = finish(begin(cut, kind, "--resume"))
    for what, value in whole.items():
        assert resumed[what] == value, f"{what} differs after kills at steps {first} and {second}"
    lines = [json.loads(line) for line in (cut / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == sorted(set(steps)), "lines of the run that was killed are no part of the log"


@pytest.mark.slow
def test_sigterm_saves_the_step_and_lets_the_signal_through(tmp_path: Path) -> None:
    whole = finish(begin(tmp_path / "whole", "map"))
    step = random.choice([4, 5, 7, 8])  # none that saves by itself
    code, said = stop_at(tmp_path / "cut", "map", step, signal.SIGTERM)
    assert code == -signal.SIGTERM
    assert "SIGTERM" in said
    saved = sorted(int(path.name.split("-")[1]) for path in (tmp_path / "cut").glob("checkpoint-*"))
    assert saved[-1] in (step, step + 1)
    assert finish(begin(tmp_path / "cut", "map", "--resume")) == whole
