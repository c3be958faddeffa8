"""Quantized checkpoints: plain tensors, shards, another process, heads and bases, and the memory that a load takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from transept.discovery import load_object, registry

from .suite import Architecture, Case, QuantizerSuite, same_bits, tensors

__all__ = ["FileChecks"]

Folder = Callable[[str], Path]
Quantized = Callable[[Case], tuple[Any, Path]]

_PROCESS = """
import sys, torch
from pathlib import Path
from transept.discovery import load_object, registry
from transept.rewrite import saved_tensors
torch.set_num_threads(1)
for line in sys.argv[1:]:
    folder, model_type, task = line.split("|")
    folder = Path(folder)
    kind = load_object(registry.get("models", model_type).tasks[task], owner=model_type)
    model = kind.from_pretrained(folder)
    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    with torch.no_grad():
        logits = model(**inputs).logits
    held = {name: one if isinstance(one, torch.Tensor) else one() for name, one in saved_tensors(model)[0].items()}
    torch.save({"logits": logits, "tensors": held}, folder / "found.pt")
"""

_LOAD = """
import gc, json, sys, resource, torch
from transept.discovery import load_object, registry
folder, model_type, task, settings = sys.argv[1:5]
settings = json.loads(settings)
torch.set_num_threads(1)
kind = load_object(registry.get("models", model_type).tasks[task], owner=model_type)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def load(folder):
    asked = settings and load_object(registry.get("quantizers", settings["quant_method"]).config, owner="").from_dict(settings)
    return kind.from_pretrained(folder, quantization_config=asked)

small = load(folder + "/small")
with torch.no_grad():
    small(torch.ones(1, 4, dtype=torch.long))
before = peak()
model = load(folder + "/large")
print(peak() - before, model.get_memory_footprint())
"""


class FileChecks(QuantizerSuite, standard=True):
    """What is saved is what is loaded, bit for bit."""

    def test_files_hold_plain_tensors(self, case: Case, quantized: Quantized) -> None:
        model, folder = quantized(case)
        stored = load_file(folder / "model.safetensors")
        held = tensors(model)
        for name, tensor in held.items():
            assert type(tensor) in (torch.Tensor, torch.nn.Parameter), f"`{name}` would be saved as a {type(tensor).__name__}"
        for path in self.packed(model):
            names = [name for name in held if name.startswith(f"{path}.")]
            absent = [name for name in names if name not in stored]
            assert not absent, f"the file lacks {absent}"
            for name in names:
                assert same_bits(stored[name], held[name]), f"`{name}` in the file is not what the model holds"

    def test_a_load_is_bit_equal(self, case: Case, quantized: Quantized) -> None:
        model, folder = quantized(case)
        for options in ({}, {"mmap": False}):
            again = self.model_class(case.architecture).from_pretrained(folder, **options)
            assert self.packed(again).keys() == self.packed(model).keys(), "other modules are packed after a load"
            self.assert_same(again, model, case.architecture, "loaded again")

    def test_shards_are_bit_equal(self, case: Case, quantized: Quantized, tmp_path: Path) -> None:
        model, _ = quantized(case)
        model.save_pretrained(tmp_path, max_shard_size="20KB")
        assert len(list(tmp_path.glob("*.safetensors"))) > 2
        again = self.model_class(case.architecture).from_pretrained(tmp_path)
        self.assert_same(again, model, case.architecture, "loaded from shards")

    def test_saved_again_is_the_same_file(self, case: Case, quantized: Quantized, tmp_path: Path) -> None:
        _, folder = quantized(case)
        kind = self.model_class(case.architecture)
        again = kind.from_pretrained(folder)
        self.logits(case.architecture, again)  # what a product does to its layer must not be saved
        again.save_pretrained(tmp_path)
        one, other = (path.joinpath("model.safetensors").read_bytes() for path in (folder, tmp_path))
        assert one == other, "the weights' file changes when it is loaded and saved"
        settings = [json.loads(path.joinpath("config.json").read_text())["quantization_config"] for path in (folder, tmp_path)]
        assert settings[0] == settings[1]

    @pytest.mark.slow
    def test_a_new_process_is_bit_equal(self, setting: str, quantized: Quantized) -> None:
        cases = [case for case in self.cases()["case"]() if case.setting == setting]
        lines = []
        for case in cases:
            model, folder = quantized(case)
            torch.save(self.inputs(case.architecture, model), folder / "inputs.pt")
            one = self.architectures[case.architecture]
            lines.append(f"{folder}|{one.model_type}|{one.task}")
        _run(_PROCESS, *lines)
        for case in cases:
            model, folder = quantized(case)
            found = torch.load(folder / "found.pt", weights_only=True)
            held = tensors(model)
            assert sorted(found["tensors"]) == sorted(held)
            for name, tensor in held.items():
                assert same_bits(found["tensors"][name], tensor), f"`{name}` of {case} in a new process"
            assert same_bits(found["logits"], self.logits(case.architecture, model)), f"logits of {case} in a new process"

    def test_a_base_reads_a_heads_checkpoint(self, architecture: str, quantized: Quantized, tmp_path: Path) -> None:
        """Names with and without the base model's prefix, both ways."""
        model, folder = quantized(Case(architecture, next(iter(self.settings))))
        one = self.architectures[architecture]
        base_class = load_object(registry.get("models", one.model_type).tasks["base"], owner=one.model_type)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a pooler that starts anew, a head that is left out
            base = base_class.from_pretrained(folder)
            base.save_pretrained(tmp_path)
            back = self.model_class(architecture).from_pretrained(tmp_path, strict=not _headless(model, base))
        expected, prefix = tensors(model), f"{model.base_model_prefix}."
        packed = self.packed(base)
        inside = {
            path.removeprefix(prefix) for path in self.packed(model) if model.base_model is model or path.startswith(prefix)
        }
        assert packed.keys() == inside, "the base does not find the packed layers of a head's checkpoint"
        for found, dot in ((tensors(base), ""), (tensors(back), "" if model.base_model is model else prefix)):
            for path in packed:
                names = [name for name in found if name.startswith(f"{dot}{path}.")]
                assert names
                for name in names:
                    whole = name if name in expected else prefix + name
                    assert same_bits(found[name], expected[whole]), f"`{name}` is not the checkpoint's"

    @pytest.mark.slow
    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are in kilobytes on Linux alone")
    def test_a_load_takes_the_model_and_two_tensors(self, float_folder: Folder, tmp_path: Path) -> None:
        if not self.without_data:
            pytest.skip("it learns from data, so there is no quantizing load")
        name = next(iter(self.cases()["architecture"]()))
        one = self.architectures[name]
        self._large(one, tmp_path)
        largest = max(tensor.nbytes for tensor in load_file(tmp_path / "large" / "model.safetensors").values())
        settings = json.dumps(self.quantization(next(iter(self.settings))).to_dict())
        grown, footprint = map(int, _run(_LOAD, str(tmp_path), one.model_type, one.task, settings).split())
        # what allocators and libraries keep is not counted in tensors
        assert grown <= footprint + 2 * largest + (24 << 20), (
            f"a load of {footprint >> 20} MiB grew by {grown >> 20} MiB; the largest tensor has {largest >> 20}"
        )

    def _large(self, one: Architecture, folder: Path) -> None:
        """A model whose layers outweigh by far what is allowed beside them."""
        config_class = load_object(registry.get("models", one.model_type).config, owner=one.model_type)
        kind = load_object(registry.get("models", one.model_type).tasks[one.task], owner=one.model_type)
        for place, layers, width in (("small", 1, self.width), ("large", 8, 1024)):
            values = {**one.make(width), "num_hidden_layers": layers}
            torch.manual_seed(0)
            kind(config_class(**values)).save_pretrained(folder / place)


def _headless(model: Any, base: Any) -> bool:
    """Whether the head has weights that no base holds and that are not listed as ones that may start anew."""
    return model.get_output_embeddings() is not None and not model.tied_weights and model is not base


def _run(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
