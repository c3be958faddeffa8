"""A throw-away site-packages folder that tests install fake dists into."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from transept.discovery import PluginRegistry


class Site:
    """A folder on `sys.path`. `add` writes what pip would: a metadata folder, and the modules."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: set[str] = set()

    def add(
        self,
        dist: str,
        version: str = "1.0",
        *,
        kind: str = "models",
        keys: tuple[str, ...] = (),
        module: str | None = None,
        source: str | None = None,
        entry_points: str | None = None,
        requires: tuple[str, ...] = ("transept-hookspecs>=1.0,<2",),
        root: Path | None = None,
        suffix: str = ".dist-info",
    ) -> Path:
        """Install a dist that offers `keys` of one kind from one module; `source` is the module's code."""
        root = root or self.root
        root.mkdir(parents=True, exist_ok=True)
        module = module or dist.replace("-", "_")
        info = root / f"{dist.replace('-', '_')}-{version}{suffix}"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {dist}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires)]
        (info / ("METADATA" if suffix == ".dist-info" else "PKG-INFO")).write_text("\n".join(lines) + "\n")
        if entry_points is None:
            entry_points = f"[transept.{kind}]\n" + "".join(f"{key} = {module}\n" for key in keys)
        (info / "entry_points.txt").write_text(entry_points)
        (root / f"{module}.py").write_text(source if source is not None else self.models(*keys))
        self.modules.add(module)
        return info

    @staticmethod
    def models(*keys: str) -> str:
        """Code of a plugin module that offers models."""
        records = ", ".join(f'ModelSpec(key="{key}", config="no_such.place:Config", tasks={{}})' for key in keys)
        return textwrap.dedent(
            f"""
            from transept_hookspecs import ModelSpec, hookimpl

            @hookimpl
            def provide_models():
                return [{records}]
            """
        )

    def loaded(self) -> set[str]:
        """Which of the fake modules have been imported."""
        return self.modules & sys.modules.keys()

    def python(self, code: str, *, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run code in a fresh interpreter that has the folder on its path."""
        path = os.pathsep.join([str(self.root), *(p for p in sys.path if p)])
        environment = {**os.environ, "PYTHONPATH": path, **environment}
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty site folder at the front of `sys.path`; its modules are forgotten afterwards."""
    for name in ("TRANSEPT_PLUGINS", "TRANSEPT_PREFER", "TRANSEPT_TRACE"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "site"
    root.mkdir()
    monkeypatch.syspath_prepend(root)
    made = Site(root)
    yield made
    for module in made.modules:
        sys.modules.pop(module, None)


@pytest.fixture
def registry():
    """A registry with no memory, which reads the real `sys.path`."""
    return PluginRegistry()
