"""`make bench`: measure, print, write `benchmarks/results/*.json` and the tables in `docs/benchmarks.md`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import attention, caches, foundation, onnx, quantization, quantizers, training
from .runs import RESULTS, ROOT, Row, write_results

PAGE = ROOT / "docs" / "benchmarks.md"
QUANTIZATION = ROOT / "docs" / "quantization.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each program")
    parser.add_argument("names", nargs="*", help="only these, such as `attention`; the others' stored results stay in the page")
    arguments = parser.parse_args()
    for name, measure in (
        ("foundation", foundation.rows),
        ("caches", caches.rows),
        ("attention", attention.rows),
        ("long_prompt", attention.long_prompt),
        ("training", training.rows),
        ("quantization", quantization.rows),
        ("quantizers", quantizers.rows),
        ("onnx", onnx.rows),
    ):
        if arguments.names and name not in arguments.names:
            continue
        rows = measure(arguments.runs)
        write_results(name, rows)
        print(table([vars(row) for row in rows]))
    write_page()


def table(rows: Sequence[dict[str, object] | Row]) -> str:
    """The rows as a Markdown table; with a column for memory where some row has a figure of it."""
    found = [row if isinstance(row, dict) else vars(row) for row in rows]
    memory = any(row.get("memory") for row in found)
    head = ["what", "transept", "other", "ratio", *(["memory"] if memory else []), "target", "met"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in found:
        cells = [row["what"], f"{row['ours']:.3g} {row['unit']}", f"{row['other']:.3g} {row['unit']} ({row['against']})"]
        cells += [f"{row['ratio']:.3g}", *([_memory(row.get("memory"))] if memory else []), row["target"]]
        lines.append(f"| {' | '.join(map(str, cells))} | {'yes' if row['met'] else '**no**'} |")
    return "\n".join(lines)


def _memory(pair: Any) -> str:
    """Both in MiB, and the ratio where the figures are more than what the allocator rounds."""
    if not pair:
        return ""
    ours, other = (each / (1 << 20) for each in pair)
    ratio = f": {ours / other:.2g}" if other >= 1 else ""
    return f"{ours:.1f} / {other:.1f} MiB{ratio}"


def write_page() -> None:
    """Put every stored result into the page, between its markers."""
    parts = []
    for file in sorted(RESULTS.glob("*.json")):
        stored = json.loads(file.read_text())
        where = ", ".join(f"{key} {value}" for key, value in stored["machine"].items())
        parts.append(f"### {file.stem.replace('_', ' ').capitalize()}\n\nMachine: {where}.\n\n{table(stored['rows'])}")
    _between(PAGE, "results", "\n\n".join(parts))
    stored = [
        json.loads(file.read_text()) for name in ("quantization", "quantizers") if (file := RESULTS / f"{name}.json").exists()
    ]
    _between(QUANTIZATION, "quantization", "\n\n".join(table(one["rows"]) for one in stored))


def _between(page: Path, name: str, content: str) -> None:
    """Put content between a page's markers of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = page.read_text()
    page.write_text(f"{text.split(begin)[0]}{begin}\n\n{content}\n\n{end}{text.split(end)[1]}")


if __name__ == "__main__":
    main()
