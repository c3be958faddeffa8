"""The library is compiled where a compiler is; where none is, the dist installs, and says why it is not active."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import transept_kernels_cpu
from transept_kernels_cpu import library

DIST = Path(__file__).parents[1]


@pytest.fixture
def building() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_library", DIST / "build_library.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(shutil.which("c++") is None or sys.platform != "linux", reason="no C++ compiler")
def test_it_is_there_where_a_compiler_is() -> None:
    assert library.missing() is None


def test_no_compiler_is_told(building, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CXX", "a-compiler-that-nobody-has -O2")
    with pytest.raises(building.CannotBuild, match=r"no C\+\+ compiler is found \(a-compiler-that-nobody-has -O2\)"):
        building.build(tmp_path / "products.so")
    assert list(tmp_path.iterdir()) == []


def test_what_the_compiler_says_is_told(building, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(building.CannotBuild, match="the compiler failed: false"):
        building.build(tmp_path / "products.so")


def test_a_missing_torch_is_told(building, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(building.CannotBuild, match="--no-build-isolation"):
        building.build(tmp_path / "products.so")


def test_why_it_is_not_there_is_what_the_build_said(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(library, "FILE", tmp_path / "products.so")
    monkeypatch.setattr(library, "WHY", tmp_path / "products.txt")
    ask = library.missing.__wrapped__
    assert ask() == "its library was not built when the dist was installed"
    library.WHY.write_text("no C++ compiler is found (c++)\nmore\n")
    assert ask() == "its library was not built: no C++ compiler is found (c++)"
    library.FILE.write_text("no library at all")
    assert ask().startswith("its library does not load: ")


def _wheel(tmp_path: Path, **environment: str) -> tuple[Path, str]:
    source = tmp_path / "source"
    shutil.copytree(DIST, source, ignore=shutil.ignore_patterns("lib", "__pycache__", "tests"))
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=source, env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return next(tmp_path.glob("*.whl")), done.stdout + done.stderr


def test_without_a_compiler_a_pure_wheel_says_why(tmp_path) -> None:
    wheel, said = _wheel(tmp_path, CXX="a-compiler-that-nobody-has")
    assert wheel.name == f"transept_kernels_cpu-{transept_kernels_cpu.__version__}-py3-none-any.whl"
    assert "installed without its native library" in said
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    assert "no C++ compiler" in (tmp_path / "unpacked/transept_kernels_cpu/lib/products.txt").read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None or sys.platform != "linux", reason="no C++ compiler")
def test_a_wheel_carries_the_library_and_works_away_from_the_source(tmp_path) -> None:
    wheel, _ = _wheel(tmp_path)
    assert "-py3-none-linux_" in wheel.name
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    code = "from transept_kernels_cpu.library import missing, paths, FILE; print(missing(), paths()[-1], FILE)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "unpacked")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["None", "portable", str(tmp_path / "unpacked/transept_kernels_cpu/lib/products.so")]
