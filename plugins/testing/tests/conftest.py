"""The toy family and the toy quantizer, installed as strangers' dists for the time of a test."""

import shutil
import sys
from pathlib import Path

import pytest


def _install(site, name, module, entries):
    """A module as pip would leave its dist in site-packages."""
    shutil.copy(Path(__file__).with_name(f"{module}.py"), site)
    info = site / f"transept_{name}-0.1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: transept-{name}\nVersion: 0.1.0\n")
    groups = "\n".join(f"[transept.{kind}]\n{key} = {module}\n" for kind, key in entries.items())
    info.joinpath("entry_points.txt").write_text(groups)
    return site


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory):
    """A folder with the toy family."""
    return _install(tmp_path_factory.mktemp("site"), "toy", "toy_family", {"configs": "toy", "models": "toy"})


@pytest.fixture
def toy(toy_site, monkeypatch):
    monkeypatch.syspath_prepend(toy_site)
    yield
    sys.modules.pop("toy_family", None)


@pytest.fixture(scope="session")
def toy_quantizer_site(tmp_path_factory):
    """A folder with the toy quantizer."""
    return _install(tmp_path_factory.mktemp("site"), "toy-groups", "toy_quantizer", {"quantizers": "toy-groups"})


@pytest.fixture
def toy_quantizer(toy_quantizer_site, monkeypatch):
    monkeypatch.syspath_prepend(toy_quantizer_site)
