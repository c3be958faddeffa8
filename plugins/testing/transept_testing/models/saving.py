"""Files: what a head and its base leave to each other, what may be missing, and a process that knows nothing but the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from transept.errors import MissingTensorsError, ShapeMismatchError, UnexpectedTensorsError

from ..comparing import assert_outputs_equal, assert_to_scale, tensors_of
from ..refusing import refused
from .suite import Case, ModelSuite

__all__ = ["SavingChecks"]

_PROCESS = """
import sys, torch
from pathlib import Path
from transept.discovery import load_object, registry
for task in sys.argv[2:]:
    folder = Path(sys.argv[1]) / task
    kind = load_object(registry.get("models", {model_type!r}).tasks[task], owner={model_type!r})
    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    with torch.no_grad():
        output = kind.from_pretrained(folder)(**inputs)
    found = {{name: value for name, value in output.items() if isinstance(value, torch.Tensor)}}
    torch.save(found, folder / "outputs.pt")
"""


class SavingChecks(ModelSuite, standard=True):
    """Checkpoints of every class, complete ones and others."""

    @torch.no_grad()
    @pytest.mark.slow
    def test_a_new_process_loads_every_head(self, tmp_path: Path) -> None:
        models = {}
        for task in self.tasks():
            case = Case(task)
            model, inputs = self.model(case), self.inputs(case)
            model.save_pretrained(tmp_path / task)
            torch.save(inputs, tmp_path / task / "inputs.pt")
            models[task] = model(**inputs)
        code = _PROCESS.format(model_type=self.model_type)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), *models], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        for task, expected in models.items():
            found = torch.load(tmp_path / task / "outputs.pt", weights_only=True)
            for name, tensor in found.items():
                # where tensors lie in memory decides how products are summed: a few units in the last place
                assert_to_scale(tensor, expected[name], 1e-5, f"`{name}` of `{task}` in a new process")

    def test_a_base_checkpoint_loads_into_every_head(self, task_head: Case, tmp_path: Path) -> None:
        base, kind = self.model(Case("base")), self.model_class(task_head)
        base.save_pretrained(tmp_path)
        config = self.config(task_head)
        fresh = kind(config)
        known = {id(parameter) for parameter in fresh.base_model.parameters()}
        absent = [name for name, parameter in fresh.named_parameters() if id(parameter) not in known]
        absent += self._not_in(fresh.base_model, base, _prefix(fresh))
        self._expect(kind, config, tmp_path, absent, base, _prefix(fresh))

    def test_a_head_checkpoint_loads_into_the_base(self, task_head: Case, tmp_path: Path) -> None:
        model, base_class = self.model(task_head), self.model_class(Case("base"))
        model.save_pretrained(tmp_path)
        config = self.config(Case("base"))
        absent = self._not_in(base_class(config), model.base_model, "")
        self._expect(base_class, config, tmp_path, absent, model.base_model, "")

    @staticmethod
    def _not_in(model: Any, other: Any, prefix: str) -> list[str]:
        names = {name for name, _ in other.named_parameters(remove_duplicate=False)}
        return [prefix + name for name, _ in model.named_parameters() if name not in names]

    def _expect(self, kind: Any, config: Any, folder: Path, absent: list[str], source: Any, prefix: str) -> None:
        """A load of `folder` that lacks `absent`: reported where they may be new, an error else; and `source`'s weights arrive."""
        needed = [name for name in absent if not any(fnmatchcase(name, pattern) for pattern in kind.new_on_load)]
        if needed:
            with refused(MissingTensorsError, needed[0], "list what may start anew in `new_on_load`, and nothing else"):
                kind.from_pretrained(folder, config=config)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is new, which is looked at below
            model, info = kind.from_pretrained(folder, config=config, output_loading_info=True)
        assert sorted(info["missing_keys"]) == sorted(absent), f"reported as new: {info['missing_keys']}; new are {absent}"
        for name in absent:
            assert torch.isfinite(model.get_parameter(name)).all(), f"`{name}` is new, and not initialised"
        loaded = dict(model.named_parameters(remove_duplicate=False))
        for name, parameter in source.named_parameters():
            if prefix + name in loaded:
                assert torch.equal(loaded[prefix + name], parameter), f"`{prefix}{name}` is not the checkpoint's"

    def test_a_missing_weight_is_an_error(self, head: Case, tmp_path: Path) -> None:
        model = self.model(head)
        model.save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        tensors = load_file(file)
        new = type(model).new_on_load
        needed = [name for name in tensors if not any(fnmatchcase(name, pattern) for pattern in new)]
        assert needed, f"`new_on_load` {new} covers every weight: any checkpoint would load, and nothing of it"
        gone = needed[-1]
        del tensors[gone]
        save_file(tensors, file, metadata={"format": "pt"})
        with refused(MissingTensorsError, gone.rpartition(".")[2], "let `new_on_load` name task heads alone"):
            type(model).from_pretrained(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            mended, info = type(model).from_pretrained(tmp_path, strict=False, output_loading_info=True)
        assert len(info["missing_keys"]) == 1
        assert all(torch.isfinite(parameter).all() for parameter in mended.parameters())

    def test_a_weight_of_another_model_is_an_error(self, head: Case, tmp_path: Path) -> None:
        model = self.model(head)
        model.save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        tensors = load_file(file)
        inside = next(name for name in tensors if ".0." in name).replace(".0.", ".77.")
        tensors[inside] = torch.zeros(3)
        save_file(tensors, file, metadata={"format": "pt"})
        with refused(UnexpectedTensorsError, "77", "do not ignore unexpected tensors of the base model"):
            type(model).from_pretrained(tmp_path)

    def test_another_number_of_labels(self, labelled_head: Case, tmp_path: Path) -> None:
        model = self.model(labelled_head, num_labels=3)
        model.save_pretrained(tmp_path)
        kind = type(model)
        before, after = (dict(kind(self.config(labelled_head, num_labels=n)).named_parameters()) for n in (3, 5))
        changed = [name for name in before if before[name].shape != after[name].shape]
        assert changed, f"`num_labels` changes no parameter of `{kind.__name__}`; take it out of `labelled`"
        with refused(ShapeMismatchError, "ignore_mismatched_sizes", "leave loading to `from_pretrained`"):
            kind.from_pretrained(tmp_path, num_labels=5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            loaded, info = kind.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True)
        assert sorted(name for name, *_ in info["mismatched_keys"]) == sorted(changed)
        assert loaded.config.num_labels == 5
        for name, parameter in loaded.named_parameters():
            if name not in changed:
                assert torch.equal(parameter, model.get_parameter(name)), f"`{name}` is not the checkpoint's"
        with torch.no_grad():
            output = loaded(**self.inputs(labelled_head, num_labels=5))
        assert all(torch.isfinite(tensor).all() for _, tensor in tensors_of(output))

    @torch.no_grad()
    def test_the_auto_class_finds_the_head(self, head: Case, tmp_path: Path) -> None:
        import transept.auto

        model, inputs = self.model(head), self.inputs(head)
        doors = [getattr(transept.auto, name) for name in transept.auto.__all__ if name.startswith("AutoModel")]
        door = next((door for door in doors if door.task == head.task), None)
        if door is None:
            pytest.skip(f"no auto class asks for `{head.task}`")
        model.save_pretrained(tmp_path)
        loaded = door.from_pretrained(tmp_path)
        assert type(loaded) is type(model)
        assert_outputs_equal(loaded(**inputs), model(**inputs), 0.0, f"through `{door.__name__}`")


def _prefix(model: Any) -> str:
    return f"{type(model).base_model_prefix}." if model.base_model is not model else ""
