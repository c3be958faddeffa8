"""The kernel of `docs/attention.md`, written from the page, is short, passes the conformance checks and serves a model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from transept.attention.mask import MASK_KINDS
from transept.discovery import registry
from transept_hookspecs import AttentionKernelSpec

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "attention.md").read_text()
FILES = dict(re.findall(r"```(?:toml|python)\n# (\S+\.(?:toml|py))\n(.*?)```", PAGE, re.S))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's dist as pip would leave it in site-packages."""
    site = tmp_path_factory.mktemp("site")
    for name, code in FILES.items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(code)
    (site / "transept_exact" / "__init__.py").touch()
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = site / f"transept_exact-{project['version']}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, entries),) = project["entry-points"].items()
    info.joinpath("entry_points.txt").write_text(
        f"[{group}]\n" + "\n".join(f"{key} = {value}" for key, value in entries.items())
    )
    return site


def run(site: Path, *command: str) -> str:
    path = os.pathsep.join(part for part in (str(site), os.environ.get("PYTHONPATH", "")) if part)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, check=False, cwd=site)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_kernel_and_its_record_are_forty_lines() -> None:
    code = FILES["transept_exact/plugin.py"] + FILES["transept_exact/kernel.py"]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 40
    assert len(FILES["tests/test_exact.py"].strip().splitlines()) <= 6


@pytest.mark.slow
def test_it_serves_a_model(site: Path) -> None:
    assert "exact: asked for by name" in run(site, "try_it.py")


@pytest.mark.slow
def test_it_conforms(site: Path) -> None:
    assert " passed" in run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_exact.py")


def test_the_table_of_the_record_has_each_field_and_default() -> None:
    table = PAGE.split("## The record")[1].split("## ")[0]
    shown = set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))))
    fields = AttentionKernelSpec.model_fields
    shared = {"key", "description", "kernel"}
    assert shown == set(fields) - shared, "say what each field of the record is for"


def test_the_table_of_masks_has_each_kind() -> None:
    table = PAGE.split("## The mask")[1].split("## ")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.M) == list(MASK_KINDS)


def test_the_table_of_kernels_says_what_the_records_say() -> None:
    table = PAGE.split("## Choose a kernel")[1].split("## ")[0]
    rows = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        for key in re.findall(r"`(\w+)`", cells[1]) if line.startswith("| `") else ():
            rows[key] = cells
    for key, cells in rows.items():
        record = registry.get("attention", key)
        assert cells[3] == (str(record.priority) if record.priority >= 0 else "by name"), key
        lacks = cells[5]
        words = {"softcap": "soft cap", "sinks": "sinks", "weights": "weights", "training": "gradients"}
        for field, word in words.items():
            assert (word in lacks) is not getattr(record, field), f"{key}: {word}"
    assert {record.key for record in registry.records("attention")} == set(rows)
