"""The kits' checks: blocks as a quantizer, and GGUF as a checkpoint format."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import pytest
from torch import Tensor, nn
from transept_testing import CheckpointFormatConformance, QuantizerConformance


class TestBlocksAsAQuantizer(QuantizerConformance):
    key = "gguf"
    settings: Mapping[str, Mapping[str, Any]] = {
        name: {"type": name.upper()} for name in ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
    }
    odd_width = 40

    @pytest.fixture(autouse=True)
    def _its_own_products(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without native products that may be installed beside: those round activations, and models only get them from a load."""
        installed = {dist.name for dist in importlib.metadata.distributions()}
        families = (f"transept-{one.model_type}" for one in self.architectures.values())
        served = {"transept-gguf", "transept-tokenizers", *families} & installed
        monkeypatch.setenv("TRANSEPT_PLUGINS", ",".join(sorted(served)))

    bits = 9.0

    def packed(self, model: nn.Module, key: str | None = None) -> dict[str, Any]:
        """Linear layers alone: the kit hangs adapters on them, and takes some away, which is not done with tied ones."""
        found = super().packed(model, key)
        tied = {name.rpartition(".")[0] for tie in getattr(model, "tied_weights", {}).items() for name in tie}
        return {path: one for path, one in found.items() if type(one.original) is nn.Linear and path not in tied}


class TestGGUFAsACheckpointFormat(CheckpointFormatConformance):
    key = "gguf"

    def write_files(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def write_model(self, model: Any, folder: Path) -> None:
        from transept_gguf import write_gguf

        write_gguf(model, folder / "model.gguf")
