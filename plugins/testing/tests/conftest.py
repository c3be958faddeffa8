"""The toy family, installed as a stranger's dist for the time of a test."""

import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory):
    """A folder with the toy family as pip would leave it in site-packages."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).with_name("toy_family.py"), site)
    info = site / "transept_toy-0.1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: transept-toy\nVersion: 0.1.0\n")
    groups = "\n".join(f"[transept.{kind}]\ntoy = toy_family\n" for kind in ("configs", "models"))
    info.joinpath("entry_points.txt").write_text(groups)
    return site


@pytest.fixture
def toy(toy_site, monkeypatch):
    monkeypatch.syspath_prepend(toy_site)
    yield
    sys.modules.pop("toy_family", None)
