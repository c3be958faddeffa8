"""Graphs: `torch.compile`, `torch.export` and ONNX follow a forward pass all the way."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ..comparing import assert_outputs_equal, assert_to_scale, tensors_of
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
        batch, places = self.masked(head)
        arguments = self._graph_arguments(head)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        inputs = self.inputs(head)
        assert_outputs_equal(compiled(**inputs, **arguments), model(**inputs, **arguments), self.tolerance, "compiled")
        found, expected = compiled(**batch, **arguments), model(**batch, **arguments)
        first = next(name for name, value in expected.items() if isinstance(value, Tensor))
        place = places[1] if found[first].shape[1:2] == (9,) else slice(None)
        assert_to_scale(found[first][1][place], expected[first][1][place], self.tolerance, f"`{first}` compiled, with a mask")

    @pytest.mark.slow
    def test_compiles_while_training(self, traced_head: Case, fresh_compiler: None) -> None:
        if not self.supports_compile:
            pytest.skip("`supports_compile` is False")
        head = traced_head
        model, inputs = self.model(head), self.inputs(head)
        labels = self.labels(head, model, inputs)
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
        model, constant = self.model(head), self._graph_arguments(head)
        inputs = self._traceable(head, 3, 9)
        program = torch.export.export(model, (), {**inputs, **constant}, dynamic_shapes=self._dynamic(inputs, constant))
        other = {**self._traceable(head, 2, 6), **constant}
        assert_outputs_equal(program.module()(**other), model(**other), self.tolerance, "exported, of another batch and length")

    @pytest.mark.slow
    @torch.no_grad()
    def test_onnx_runs_it(self, traced_head: Case, tmp_path: Path) -> None:
        if not self.supports_onnx:
            pytest.skip("`supports_onnx` is False")
        for library in ("onnx", "onnxscript"):
            pytest.importorskip(library, reason=f"{library} is not installed")
        runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        model, constant = self.model(traced_head), self._graph_arguments(traced_head)
        inputs = self._traceable(traced_head, 3, 9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            program = torch.onnx.export(
                model,
                (),
                kwargs={**inputs, **constant},
                dynamic_shapes=self._dynamic(inputs, constant),
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        program.save(tmp_path / "model.onnx")
        session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
        other = self._traceable(traced_head, 2, 6)
        found = session.run(None, {one.name: other[one.name].numpy() for one in session.get_inputs()})
        expected = list(tensors_of(model(**other, **constant)))
        assert len(found) == len(expected), f"{len(found)} outputs in place of {[name for name, _ in expected]}"
        for (name, tensor), value in zip(expected, found, strict=True):
            assert_to_scale(torch.from_numpy(value), tensor, self.tolerance, f"`{name}` in onnxruntime")

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        def traced() -> list[Case]:
            # one class, since each takes seconds; one with a head, since a base alone says less
            return [Case(task) for task in self.tasks() if task not in self.without_loss][:1]

        return {**super().cases(), "traced_head": traced}

    def _graph_arguments(self, case: Case) -> dict[str, Any]:
        return {"use_cache": False} if self.takes(case, "use_cache") else {}

    def _traceable(self, case: Case, batch: int, length: int) -> dict[str, Tensor]:
        inputs = self.inputs(case, batch=batch, length=length)
        return {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])} if self.reads_text else inputs

    def _dynamic(self, inputs: Mapping[str, Tensor], constant: Mapping[str, Any]) -> dict[str, Any]:
        """Batch first, and of ids sequence last, may be of any size."""
        free = torch.export.Dim.DYNAMIC
        shapes: dict[str, Any] = dict.fromkeys(constant)
        for name, value in inputs.items():
            sequence = value.dim() - 1 if name.endswith(("input_ids", "attention_mask", "token_type_ids")) else 0
            shapes[name] = {0: free, sequence: free}
        return shapes
