"""While a plugin's code is imported the garbage collector rests, and is afterwards as it was."""

from __future__ import annotations

import gc
import sys
import textwrap

import pytest

from transept.discovery import load_object
from transept.errors import PluginImportError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that notes whether the collector was on while it was imported."""

    def make(name: str, body: str = "") -> str:
        (tmp_path / f"{name}.py").write_text("import gc\nSEEN = gc.isenabled()\n" + textwrap.dedent(body))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    return make


def test_the_collector_rests_and_comes_back(module):
    assert gc.isenabled()
    assert load_object(f"{module('rests')}:SEEN", owner="me") is False
    assert gc.isenabled()


def test_it_comes_back_after_a_failure(module):
    with pytest.raises(PluginImportError, match="broken here"):
        load_object(module("fails", "raise ValueError('broken here')"), owner="me")
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off(module):
    gc.disable()
    try:
        load_object(module("off"), owner="me")
        assert not gc.isenabled()
    finally:
        gc.enable()
