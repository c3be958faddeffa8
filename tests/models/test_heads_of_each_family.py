"""Each family has the classes that its table names, and the table names all that the peer has."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

import transept
from transept.discovery import load_object, registry
from transept.model import PreTrainedModel

TABLE = tomllib.loads(Path(__file__).with_name("heads.toml").read_text())


def names(family: str) -> list[str]:
    return [*TABLE[family]["base"], *TABLE[family]["heads"]]


def test_every_installed_family_is_in_the_table() -> None:
    assert sorted(TABLE) == registry.keys("models")


@pytest.mark.parametrize("family", TABLE)
def test_every_head_is_public_and_its_own(family: str) -> None:
    for name in names(family):
        found = getattr(transept, name)
        assert found.__name__ == name
        assert issubclass(found, PreTrainedModel)
        assert found.config_class is getattr(transept, TABLE[family]["config"])
        assert found.config_class.model_type == family
    for name in TABLE[family].get("tokenizers", []):
        assert getattr(transept, name).__name__ == name


@pytest.mark.parametrize("family", TABLE)
def test_every_head_has_a_door(family: str) -> None:
    """An auto class leads to each class, but for those that are reached by their own names alone."""
    served = {load_object(reference, owner=family).__name__ for reference in registry.get("models", family).tasks.values()}
    assert served <= set(names(family))
    assert set(names(family)) - served <= {"GPT2DoubleHeadsModel"}


@pytest.mark.parametrize("family", TABLE)
def test_the_peer_has_no_class_that_the_table_lacks(family: str) -> None:
    peer = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    theirs = {name for name in peer.__all__ if not name.endswith("PreTrainedModel")}
    assert theirs - set(TABLE[family].get("left_out", ())) == set(names(family))


@pytest.mark.parametrize("family", TABLE)
def test_what_is_left_out_has_a_reason(family: str) -> None:
    for name, reason in TABLE[family].get("left_out", {}).items():
        assert not hasattr(transept, name), f"`{name}` is there: take it from `left_out`"
        assert len(reason) > 20
