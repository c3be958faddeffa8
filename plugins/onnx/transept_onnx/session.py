"""A file in onnxruntime, with torch tensors going in and coming out without a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from transept.errors import CheckpointNotFoundError, CorruptFileError, InputError, shorten

__all__ = ["Session"]

_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(bool)": torch.bool,
}


class Session:
    """One graph, ready to run on the CPU.

    Args:
        file: the `.onnx` file; weights beside it are found by its own words.
        providers: onnxruntime's execution providers, the first that can takes each node.
        options: onnxruntime's `SessionOptions`: threads, optimisation, profiling.

    Raises:
        CheckpointNotFoundError: there is no such file. CorruptFileError: onnxruntime cannot read it.
    """

    def __init__(self, file: Path, providers: Sequence[Any] = ("CPUExecutionProvider",), options: Any = None) -> None:
        if not file.is_file():
            raise CheckpointNotFoundError(f"There is no `{file.name}` in `{file.parent}`.")
        if options is None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # its remarks about graphs are for those who write them
        self.file = file
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=list(providers))
        except Exception as error:
            raise CorruptFileError(f"`{file}` cannot be read by onnxruntime {onnxruntime.__version__}: {error}") from error
        self.inputs: dict[str, torch.dtype] = {each.name: self._dtype(each) for each in self._session.get_inputs()}
        self.outputs: dict[str, torch.dtype] = {each.name: self._dtype(each) for each in self._session.get_outputs()}

    def shape_of(self, name: str) -> list[int | str]:
        """Sizes of an input; where any will do, the name of the axis."""
        return next(list(each.shape) for each in self._session.get_inputs() if each.name == name)

    def _dtype(self, value: Any) -> torch.dtype:
        if value.type not in _DTYPES:
            raise InputError(f"`{value.name}` of `{self.file.name}` is {value.type}, which is no tensor that torch has.")
        return _DTYPES[value.type]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name.

        Raises:
            InputError: an input that the graph needs is missing, or one that it does not know is there.
        """
        missing, unknown = self.inputs.keys() - inputs.keys(), inputs.keys() - self.inputs.keys()
        if missing or unknown:
            wrong = f"needs {shorten(sorted(missing))}" if missing else f"does not take {shorten(sorted(unknown))}"
            raise InputError(f"`{self.file.name}` {wrong}. Its inputs are {shorten(self.inputs, 8)}.")
        feeds = {name: _to_onnx(inputs[name], dtype) for name, dtype in self.inputs.items()}
        made = self._session.run_with_ort_values(list(self.outputs), feeds)
        return {name: _to_torch(value) for name, value in zip(self.outputs, made, strict=True)}


def _to_onnx(tensor: Tensor, dtype: torch.dtype) -> Any:
    return onnxruntime.OrtValue.ortvalue_from_numpy(tensor.detach().cpu().to(dtype).contiguous().numpy())


def _to_torch(value: Any) -> Tensor:
    return torch.from_dlpack(value)
