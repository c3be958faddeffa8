"""Configurations of made-up architectures, so that the core's rules are tested without any plugin."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from transept.configuration import Count, PretrainedConfig, Probability, Size
from transept.errors import ConfigError


class TinyConfig(PretrainedConfig):
    """A decoder with rotary positions."""

    model_type: ClassVar[str] = "tiny"
    hidden_size: Size = 64
    num_attention_heads: Size = 4
    num_hidden_layers: Count = 2
    max_position_embeddings: Size = 128
    dropout: Probability = 0.0
    hidden_act: str = "silu"
    use_cache: bool = True
    layer_types: list[str] | None = None
    rope_parameters: dict[str, Any] | None = None
    head_dim: Size | None = None

    def fill_defaults(self) -> None:
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads

    def validate_config(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError("`hidden_size` is no multiple of `num_attention_heads`.")
        super().validate_config()


class OldConfig(PretrainedConfig):
    """A family with names of its own for common fields, and no rotary positions."""

    model_type: ClassVar[str] = "old"
    attribute_map: ClassVar[dict[str, str]] = {"hidden_size": "n_embd", "num_attention_heads": "n_head"}
    n_embd: Size = 64
    n_head: Size = 4


class PairConfig(PretrainedConfig):
    """Two configurations in one."""

    model_type: ClassVar[str] = "pair"
    sub_configs: ClassVar[dict[str, type[PretrainedConfig]]] = {"text_config": TinyConfig, "vision_config": OldConfig}
    text_config: TinyConfig | None = None
    vision_config: OldConfig | None = None
    projection: Size = 8


@pytest.fixture
def tiny() -> type[TinyConfig]:
    return TinyConfig


@pytest.fixture
def old() -> type[OldConfig]:
    return OldConfig


@pytest.fixture
def pair() -> type[PairConfig]:
    return PairConfig


@pytest.fixture
def folder(tmp_path):
    """Writes a config.json and says where."""

    def write(values: Any, name: str = "config.json") -> str:
        (tmp_path / name).write_text(values if isinstance(values, str) else json.dumps(values))
        return str(tmp_path)

    return write
