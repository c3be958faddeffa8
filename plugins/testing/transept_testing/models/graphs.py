"""Graphs: `torch.compile`, `torch.export` and ONNX follow a forward pass all the way."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..comparing import assert_outputs_equal, assert_to_scale
from .suite import Case, ModelSuite

__all__ = ["GraphChecks"]


class GraphChecks(ModelSuite, standard=True):
    """What tracing needs of every class. No C++ compiler is needed: the graphs are run by torch itself."""

    @pytest.fixture
    def fresh_compiler(self) -> Iterator[None]:
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    @pytest.mark.slow
    @torch.no_grad()
    def test_compiles_without_a_break(self, head: Case, fresh_compiler: None) -> None:
        if not self.supports_compile:
            pytest.skip("`supports_compile` is False")
        model = self.model(head)
        batch, _, places = self.padded(head)
        arguments = self._graph_arguments(head)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        inputs = self.inputs(head)
        assert_outputs_equal(compiled(**inputs, **arguments), model(**inputs, **arguments), self.tolerance, "compiled")
        found, expected = compiled(**batch, **arguments), model(**batch, **arguments)
        first = next(name for name, value in expected.items() if isinstance(value, Tensor))
        place = places[1] if found[first].shape[1:2] == (9,) else slice(None)
        assert_to_scale(found[first][1][place], expected[first][1][place], self.tolerance, f"`{first}` compiled, with a mask")

    @pytest.mark.slow
    def test_compiles_while_training(self, head: Case, fresh_compiler: None) -> None:
        if not self.supports_compile:
            pytest.skip("`supports_compile` is False")
        model, inputs = self.model(head), self.inputs(head)
        labels = self.labels(head, model, inputs)
        if not labels:
            pytest.skip("the class has no loss")
        arguments = {**inputs, **labels, **self._graph_arguments(head)}
        expected = model(**arguments).loss
        loss = torch.compile(model, fullgraph=True, backend="aot_eager")(**arguments).loss
        loss.backward()
        assert_to_scale(loss, expected, self.tolerance, "the loss, compiled")

    @pytest.mark.slow
    @torch.no_grad()
    def test_exports_for_any_batch_and_length(self, head: Case) -> None:
        if not self.supports_export:
            pytest.skip("`supports_export` is False")
        model = self.model(head)
        inputs = self._traceable(head, 3, 9)
        program = torch.export.export(
            _Plain(model, self._graph_arguments(head)), (), inputs, dynamic_shapes={"inputs": _dynamic(inputs)}
        )
        other = self._traceable(head, 2, 6)
        found, expected = program.module()(**other), _Plain(model, self._graph_arguments(head))(**other)
        assert_outputs_equal(found, expected, self.tolerance, "exported, of another batch and length")

    @pytest.mark.slow
    @torch.no_grad()
    def test_onnx_runs_it(self, head: Case, tmp_path: Path) -> None:
        if not self.supports_onnx:
            pytest.skip("`supports_onnx` is False")
        if head.task != self.onnx_head():
            pytest.skip("one class of the family is exported to ONNX")
        for library in ("onnx", "onnxscript"):
            pytest.importorskip(library, reason=f"{library} is not installed")
        runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        model = _Plain(self.model(head), self._graph_arguments(head))
        inputs = self._traceable(head, 3, 9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model, (), kwargs=inputs, dynamo=True, verbose=False, dynamic_shapes={"inputs": _dynamic(inputs)}
            )
        assert program is not None
        program.save(tmp_path / "model.onnx")
        session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
        other = self._traceable(head, 2, 6)
        found = session.run(None, {name: value.numpy() for name, value in other.items()})
        for index, (name, expected) in enumerate(model(**other).items()):
            assert_to_scale(torch.from_numpy(found[index]), expected, self.tolerance, f"`{name}` in onnxruntime")

    @classmethod
    def onnx_head(cls) -> str:
        """The task whose class is exported to ONNX: the first that has a head, since a base alone says less."""
        tasks = cls.tasks()
        return next((task for task in tasks if task != "base"), tasks[0])

    def _graph_arguments(self, case: Case) -> dict[str, Any]:
        return {"use_cache": False} if self.takes(case, "use_cache") else {}

    def _traceable(self, case: Case, batch: int, length: int) -> dict[str, Tensor]:
        inputs = self.inputs(case, batch=batch, length=length)
        return {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}


class _Plain(nn.Module):
    """A model whose output is a plain dict of tensors."""

    def __init__(self, model: nn.Module, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        output = self.model(**inputs, **self.arguments)
        return {name: value for name, value in output.items() if isinstance(value, Tensor)}


def _dynamic(inputs: dict[str, Tensor]) -> dict[str, dict[int, Any]]:
    """Batch first and sequence last may be of any size."""
    any_size = torch.export.Dim.DYNAMIC
    return {
        name: {0: any_size, value.dim() - 1: any_size} if name != "mc_token_ids" else {0: any_size}
        for name, value in inputs.items()
    }
