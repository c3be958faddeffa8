"""Small models and checkpoint files that the tests of this folder share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from transept.files import DirectoryLocation


class Layer(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(hidden, hidden)
        self.k_proj = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)


class Base(nn.Module):
    base_model_prefix = "model"

    def __init__(self, hidden: int = 8, vocab: int = 16, layers: int = 2) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, hidden)
        self.layers = nn.ModuleList(Layer(hidden) for _ in range(layers))
        self.register_buffer("inv_freq", torch.arange(hidden, dtype=torch.float32), persistent=False)
        self.register_buffer("scale", torch.ones(2))

    def reset_buffers(self, device: torch.device) -> None:
        self.inv_freq = torch.arange(self.embed_tokens.embedding_dim, dtype=torch.float32, device=device)


class Task(nn.Module):
    base_model_prefix = "model"
    new_on_load = ("lm_head.*",)
    _keys_to_ignore_on_load_unexpected = ("*.rotary.inv_freq",)

    def __init__(self, hidden: int = 8, vocab: int = 16, layers: int = 2, tied: bool = False) -> None:
        super().__init__()
        self.model = Base(hidden, vocab, layers)
        self.lm_head = nn.Linear(hidden, vocab, bias=False)
        self.tied_weights = {"lm_head.weight": "model.embed_tokens.weight"} if tied else {}
        if tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def _init_weights(self, module: nn.Module) -> None:
        for parameter in module.parameters(recurse=False):
            parameter.fill_(0.5)


@pytest.fixture
def base_class() -> type[Base]:
    return Base


@pytest.fixture
def task_class() -> type[Task]:
    return Task


@pytest.fixture
def on_meta() -> Callable[..., Any]:
    def build(cls: type[nn.Module], **arguments: Any) -> nn.Module:
        with torch.device("meta"):
            return cls(**arguments)

    return build


@pytest.fixture
def raw_file(tmp_path: Path) -> Callable[..., DirectoryLocation]:
    """Writes a `model.safetensors` from a header (dict or bytes) and the bytes behind it."""

    def write(header: Any, data: bytes = b"", *, length: int | None = None) -> DirectoryLocation:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        claimed = len(text) if length is None else length
        (tmp_path / "model.safetensors").write_bytes(claimed.to_bytes(8, "little") + text + data)
        return DirectoryLocation(tmp_path)

    return write
