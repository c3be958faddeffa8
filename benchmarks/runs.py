"""Run small programs in fresh processes, in turn, and compare them pair by pair."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@dataclass
class Row:
    """One line of the table: what was measured, against what, and the target."""

    what: str
    ours: float
    other: float
    unit: str
    against: str
    ratio: float
    target: str
    met: bool
    runs: int
    detail: dict[str, Any] = field(default_factory=dict)
    memory: tuple[int, int] | None = None
    """Bytes that it took and that the other took, where that was measured as well."""


def run(code: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a program in a fresh interpreter; its last line of output is JSON. Adds `wall`, seconds for the whole process."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        # installed wheels come with bytecode: a setting that forbids writing it would compile our sources at each import
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **(environment or {})},
        check=False,
        cwd=ROOT,
    )
    wall = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(f"a benchmark program failed:\n{code}\n{done.stderr[-3000:]}")
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "{}"
    found: dict[str, Any] = json.loads(last) if last.startswith("{") else {}
    return {"wall": wall, **found}


def alternate(programs: Mapping[str, str], *, runs: int, warmup: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Run the programs A B A B …, so that a machine whose speed drifts treats them alike."""
    collected: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
    for turn in range(warmup + runs):
        for name, code in programs.items():
            result = run(code)
            if turn >= warmup:
                collected[name].append(result)
    return collected


def median(results: Sequence[Mapping[str, Any]], key: str) -> float:
    return statistics.median(float(result[key]) for result in results)


def paired_ratio(ours: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], key: str) -> float:
    """The median of the ratios of neighbouring runs."""
    return statistics.median(float(a[key]) / float(b[key]) for a, b in zip(ours, other, strict=True))


def machine() -> dict[str, Any]:
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def write_results(name: str, rows: Sequence[Row]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "rows": [vars(row) for row in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
