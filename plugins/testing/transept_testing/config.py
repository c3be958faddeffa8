"""`ConfigConformance`: a configuration is checked data, and the same data to the peer."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from transept.configuration import PretrainedConfig
from transept.discovery import load_object, registry
from transept.errors import ConfigError, UnknownArgumentError

from .peer import peer_class
from .standard import Conformance

__all__ = ["ConfigConformance"]


class ConfigConformance(Conformance, standard=True):
    """Subclass it with `model_type` and `tiny`; see `docs/testing.md`."""

    model_type: ClassVar[str]
    """The key of the plugin's records."""
    tiny: ClassVar[Mapping[str, Any]]
    """Keywords of a small configuration."""
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """More configurations by name, as changes of `tiny`."""
    wrong: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Changes of `tiny` that must be refused: values out of range, values that do not fit together."""
    peer: ClassVar[str | None] = None
    """Prefix of the peer's classes, "Bert" for `transformers.BertConfig`; None: no comparison."""
    not_compared: ClassVar[frozenset[str]] = frozenset(
        {"transformers_version", "transept", "_name_or_path", "is_decoder", "add_cross_attention", "decoder_start_token_id"}
    )
    """Keys that need not be the peer's: where it came from, and what the peer's base class stopped writing."""

    @classmethod
    def config_class(cls) -> type[PretrainedConfig]:
        record = registry.find("configs", cls.model_type) or registry.get("models", cls.model_type)
        found: type[PretrainedConfig] = load_object(record.config, owner=cls.model_type)
        return found

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        return {"variant": lambda: ["tiny", *self.variants], "refused": lambda: self.wrong or [None]}

    def config(self, variant: str = "tiny", **changes: Any) -> PretrainedConfig:
        values = {**self.tiny, **self.variants.get(variant, {}), **changes}
        return self.config_class()(**copy.deepcopy(values))

    def compared(self, config: Any) -> dict[str, Any]:
        """What is compared with the peer's."""
        return {name: value for name, value in config.to_dict().items() if name not in self.not_compared}

    def test_the_record_names_the_class(self) -> None:
        kind = self.config_class()
        assert issubclass(kind, PretrainedConfig)
        assert kind.model_type == self.model_type, (
            f"`{kind.__name__}.model_type` is `{kind.model_type}`, the record's key another"
        )
        assert registry.get("configs", self.model_type).config == registry.get("models", self.model_type).config, (
            "the records of `configs` and of `models` name two classes"
        )

    def test_a_dict_and_back(self, variant: str) -> None:
        config = self.config(variant)
        made = self.config_class().from_dict(config.to_dict())
        _assert_same_fields(made, config)
        assert made.to_dict() == config.to_dict()

    def test_json_and_back(self, variant: str, tmp_path: Path) -> None:
        config = self.config(variant)
        for use_diff in (True, False):
            text = config.to_json_string(use_diff=use_diff)
            again = self.config_class().from_dict(json.loads(text))
            _assert_same_fields(again, config)
            assert again.to_json_string(use_diff=use_diff) == text
        config.save_pretrained(tmp_path)
        assert self.config_class().from_pretrained(tmp_path).to_diff_dict() == config.to_diff_dict()

    def test_copies_and_pickles(self, variant: str) -> None:
        config = self.config(variant)
        for other in (copy.deepcopy(config), copy.copy(config), pickle.loads(pickle.dumps(config)), config.copy_with()):
            _assert_same_fields(other, config)
            assert other is not config
        other = copy.deepcopy(config)
        other.num_labels = 17
        assert config.num_labels != 17, "a copy shares state with what it was copied from"

    def test_an_unknown_keyword_is_refused(self) -> None:
        field = next(name for name in type(self).tiny if len(name) > 5)
        wrong = field[:-1] + "z"
        with pytest.raises(UnknownArgumentError, match=f"`{wrong}`.*Did you mean.*`{field}`"):
            self.config(**{wrong: 1})

    def test_a_wrong_type_is_refused(self) -> None:
        fields = [name for name, value in self.tiny.items() if isinstance(value, int | float)]
        assert fields, "`tiny` has no number"
        for name in fields:
            with pytest.raises(ConfigError, match=name):
                self.config(**{name: "many"})
            config = self.config()
            before = config.to_dict()
            with pytest.raises(ConfigError, match=name):
                setattr(config, name, [1.5])
            assert config.to_dict() == before, f"a refused `{name}` changed the configuration"

    def test_what_does_not_fit_is_refused(self, refused: Mapping[str, Any] | None) -> None:
        if refused is None:
            pytest.skip("`wrong` lists nothing that the family's own rules refuse")
        with pytest.raises(ConfigError):
            self.config(**refused)
        with pytest.raises(ConfigError):
            self.config_class().from_dict({**self.tiny, **refused})

    def test_a_key_of_somebody_else_is_kept(self) -> None:
        config = self.config_class().from_dict({**self.tiny, "a_key_of_somebody_else": {"deep": [1, None]}})
        assert config.to_dict()["a_key_of_somebody_else"] == {"deep": [1, None]}

    def test_other_names_of_fields(self) -> None:
        for other, field in self.config_class().attribute_map.items():
            value = getattr(self.config(), field)
            by_other = self.config_class()(**{**{k: v for k, v in self.tiny.items() if k != field}, other: value})
            assert getattr(by_other, field) == getattr(by_other, other) == value, f"`{other}` does not stand for `{field}`"
            assert other not in by_other.to_dict(), f"`{other}` is written beside `{field}`"

    def test_defaults_are_the_peers(self) -> None:
        peer = peer_class(self, f"{self.peer}Config")
        assert self.compared(self.config_class()()) == self.compared(peer())
        ours = json.loads(self.config_class()().to_json_string())
        theirs = json.loads(peer().to_json_string())
        assert ours == {name: value for name, value in theirs.items() if name != "transformers_version"}

    def test_the_peer_writes_and_ours_reads(self, variant: str, tmp_path: Path) -> None:
        peer = peer_class(self, f"{self.peer}Config")
        theirs = peer(**copy.deepcopy({**self.tiny, **self.variants.get(variant, {})}))
        theirs.save_pretrained(tmp_path)
        assert self.compared(self.config_class().from_pretrained(tmp_path)) == self.compared(theirs)

    def test_ours_writes_and_the_peer_reads(self, variant: str, tmp_path: Path) -> None:
        peer = peer_class(self, f"{self.peer}Config")
        ours = self.config(variant)
        ours.save_pretrained(tmp_path)
        theirs = peer.from_pretrained(tmp_path)
        assert self.compared(theirs) == self.compared(ours)
        theirs.save_pretrained(tmp_path / "again")
        assert self.compared(self.config_class().from_pretrained(tmp_path / "again")) == self.compared(ours)


def _assert_same_fields(found: PretrainedConfig, expected: PretrainedConfig) -> None:
    """Field by field: two dicts may be equal because both lack one."""
    for name in type(expected).model_fields:
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours == theirs, f"`{name}` is {ours!r} in place of {theirs!r}"
    assert found == expected
