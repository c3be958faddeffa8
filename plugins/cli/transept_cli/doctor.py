"""`transept doctor`: what is broken here, and how to mend it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from transept.discovery import load_object, registry
from transept.errors import TranseptError

from .console import out, print_json

__all__ = ["Finding", "diagnose", "doctor"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: str
    """`ok`, `note` (works, worth knowing) or `problem`."""
    what: str
    mend: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is broken, and how to mend it. Exit code 1 when there is a problem."""
    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints when it is imported is no finding
        findings = list(diagnose())
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        marks = {"ok": ("ok      ", "green"), "note": ("note    ", "yellow"), "problem": ("problem ", "red")}
        for finding in findings:
            mark, style = marks[finding.level]
            out.print(mark, style=style, end="")
            out.print(finding.what, markup=False, highlight=False, soft_wrap=True)
            if finding.mend:
                out.print(f"        -> {finding.mend}", markup=False, highlight=False, soft_wrap=True)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


def diagnose() -> Iterator[Finding]:
    """Look at Python, torch, the installation, every plugin and every kernel."""
    yield Finding("ok", f"Python {platform.python_version()} at {sys.prefix}")
    yield _torch()
    yield from _settings()
    yield from _twice_installed()
    yield from _plugins()
    yield from _dangling()
    yield from _kernels()


def _torch() -> Finding:
    try:
        import torch
    except Exception as error:
        return Finding("problem", f"torch does not import: {error}", "pip install --force-reinstall torch")
    accelerators = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    return Finding("ok", f"torch {torch.__version__}, {torch.get_num_threads()} threads, {accelerators} accelerator(s)")


def _settings() -> Iterator[Finding]:
    for name in ("TRANSEPT_PLUGINS", "TRANSEPT_PREFER", "TRANSEPT_TRACE", "HF_HUB_OFFLINE", "HF_HOME", "HF_ENDPOINT"):
        if name in os.environ:
            yield Finding("note", f"{name}={os.environ[name]} is set")


def _twice_installed() -> Iterator[Finding]:
    """Dists whose metadata is found twice, in different places: the first on sys.path hides the other."""
    places: dict[str, set[str]] = defaultdict(set)
    for dist in importlib.metadata.distributions():
        name = dist.metadata["Name"] or ""
        if name.lower().startswith("transept"):
            places[name.lower().replace("_", "-")].add(f"{os.path.realpath(str(dist.locate_file('')))} ({dist.version})")
    for name, found in places.items():
        if len(found) > 1:
            yield Finding(
                "problem",
                f"{name} is installed {len(found)} times: {'; '.join(sorted(found))}",
                f"pip uninstall {name}, until none is left, then pip install {name}",
            )


def _plugins() -> Iterator[Finding]:
    try:
        entries = registry.entries()
    except TranseptError as error:
        yield Finding("problem", f"plugins cannot be listed: {error}", "mend TRANSEPT_PLUGINS or TRANSEPT_PREFER")
        return
    for trouble in registry.troubles():
        yield Finding("problem", trouble, "reinstall the dist that it names")
    broken: set[tuple[str, str]] = set()
    healthy: set[str] = set()
    for entry in entries:
        status, error = registry.status(entry)
        if status in ("ok", "unloaded"):
            healthy.add(entry.dist)
        elif status == "blocked":
            yield Finding(
                "note", f"{entry.dist} {entry.version}: {entry.kind} `{entry.key}` is not allowed by TRANSEPT_PLUGINS"
            )
        elif status == "unused":
            yield Finding(
                "note", f"{entry.dist} {entry.version}: {entry.kind} `{entry.key}` is not used: another dist is preferred"
            )
        elif (entry.dist, str(error)) not in broken:
            broken.add((entry.dist, str(error)))
            yield Finding(
                "problem",
                f"{entry.dist} {entry.version}: {entry.kind} `{entry.key}` is {status}: {error}",
                _mend(entry, status),
            )
    yield Finding("ok", f"{len(entries)} plugin entries from {len(healthy)} dists work: {', '.join(sorted(healthy))}")
    if not registry.keys("models"):
        yield Finding("note", "no architecture is installed", 'pip install "transept[llama]"')


def _mend(entry: Any, status: str) -> str:
    if status == "duplicate":
        return f"choose: TRANSEPT_PREFER={entry.kind}:{entry.key}=DIST, or uninstall the other"
    return f"pip install --upgrade {entry.dist}, or pip uninstall {entry.dist}"


def _dangling() -> Iterator[Finding]:
    """Records that name a module which is not there: the trouble would only come when it is used."""
    for entry in registry.entries():
        if registry.status(entry)[0] != "ok" or entry.kind == "observers":
            continue
        fields = registry.get(entry.kind, entry.key).model_dump(exclude={"help", "description"})
        values = [one for value in fields.values() for one in (value.values() if isinstance(value, dict) else [value])]
        for reference in values:
            module, colon, _ = reference.partition(":") if isinstance(reference, str) else ("", "", "")
            if colon and not _importable(module):
                said = f"{entry.dist} {entry.version}: {entry.kind} `{entry.key}` names `{reference}`, and there is no module `{module}`"
                yield Finding("problem", said, f"pip install --force-reinstall {entry.dist}")


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _kernels() -> Iterator[Finding]:
    for record in registry.records("attention"):
        try:
            load_object(record.kernel, owner=record.key)
            reason = load_object(record.requires, owner=record.key)() if record.requires is not None else None
        except Exception as error:
            yield Finding(
                "problem",
                f"attention kernel `{record.key}` does not load: {error}",
                "reinstall its dist, or ask for another kernel",
            )
            continue
        yield Finding("note" if reason else "ok", f"attention kernel `{record.key}`: {reason or 'can run here'}")
