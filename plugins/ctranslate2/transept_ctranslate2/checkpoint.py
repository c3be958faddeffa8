"""CTranslate2 as a checkpoint format: tensors by name, dequantized when they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from transept.errors import CheckpointNotFoundError
from transept.files import Location

from .reader import ModelFile, Variable

__all__ = ["FILE_NAME", "CTranslate2Reader", "CTranslate2Tensor", "model_file", "open_ctranslate2"]

FILE_NAME = "model.bin"
_LISTED = re.compile(r"_(\d+)$")
_SCALE = "_scale"


@dataclass(frozen=True, slots=True)
class CTranslate2Tensor:
    """One tensor of a file (a `TensorRef`): a variable, and the scale of its integers if it has some."""

    name: str
    variable: Variable
    scale: Variable | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.variable.shape

    @property
    def dtype(self) -> torch.dtype | None:
        """None for integers with a scale, which are read as float32."""
        return self.variable.dtype if self.scale is None else None

    @property
    def kind(self) -> str:
        return str(self.variable.dtype).removeprefix("torch.")

    @property
    def nbytes(self) -> int:
        return self.variable.nbytes

    def read(self) -> torch.Tensor:
        """The values: as stored, or float32 where they are integers, divided by their row's scale (int8) or the one scale (int16)."""
        stored = self.variable.read()
        if self.scale is None:
            return stored
        scale = self.scale.read().float()
        return stored.float() / scale.view(-1, *(1,) * (stored.dim() - 1))

    def release(self) -> None:
        """Pages of the map are left to the system: variables share them."""


class CTranslate2Reader:
    """A `CheckpointReader` over one `model.bin`.

    Names have dots, and numbers of lists stand alone: `decoder/layer_0/self_attention/linear_0/weight` is
    `decoder.layer.0.self_attention.linear.0.weight`.
    """

    format = "ctranslate2"

    def __init__(self, file: ModelFile) -> None:
        self.files: tuple[str, ...] = (str(file.path),)
        self.metadata: dict[str, str] = {"specification": file.specification, "revision": str(file.revision)}
        self.attributes: dict[str, int | float] = {}
        """The settings that the file holds as variables without a size: numbers of heads, the activation."""
        self.tensors: dict[str, CTranslate2Tensor] = {}
        for name, variable in file.variables.items():
            if name.endswith(_SCALE) and name.removesuffix(_SCALE) in file.variables:
                continue
            if not variable.shape:
                self.attributes[_dotted(name)] = variable.read().item()
            else:
                scale = _scale_of(file, variable)
                self.tensors[_dotted(name)] = CTranslate2Tensor(_dotted(name), variable, scale)

    def close(self) -> None:
        """Let go of the file. Tensors that view the map keep it alive."""
        self.tensors = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def _dotted(name: str) -> str:
    return ".".join(_LISTED.sub(r".\1", part) for part in name.split("/"))


def _scale_of(file: ModelFile, variable: Variable) -> Variable | None:
    """The scale of a variable's integers; None where it holds floats.

    Raises:
        CorruptFileError: integers without a scale, or one of another shape than one a row, or one in all.
    """
    if variable.dtype.is_floating_point:
        return None
    if variable.dtype == torch.int32 and f"{variable.name}{_SCALE}" not in file.variables:
        return None  # ids, not weights
    # an alias has the scale of what it stands for, under its own name or that one's
    places = [variable, *(each for each in file.variables.values() if each.start == variable.start)]
    scale = next((found for each in places if (found := file.variables.get(f"{each.name}{_SCALE}")) is not None), None)
    if scale is None:
        raise file.corrupt(f"`{variable.name}` holds integers and has no scale", variable.start)
    if scale.shape not in ((), (1,), variable.shape[:1]) or not scale.dtype.is_floating_point:
        raise file.corrupt(f"the scale of `{variable.name}` has the shape {scale.shape}", scale.start)
    return scale


def model_file(location: Location, *, mmap: bool = True) -> ModelFile:
    """The `model.bin` at a location, opened.

    Raises:
        CheckpointNotFoundError: there is none. CorruptFileError, CheckpointError: as `ModelFile`.
    """
    names = [name for name in location.names() if name.rpartition("/")[2] == FILE_NAME]
    path: Path | None = location.fetch(min(names, key=len)) if names else None
    if path is None:
        raise CheckpointNotFoundError(f"`{location.name}` has no `{FILE_NAME}`.")
    return ModelFile(path, map_file=mmap)


def open_ctranslate2(location: Location, *, mmap: bool = True) -> CTranslate2Reader:
    """Open the model of CTranslate2 at a location; raises as `model_file`."""
    return CTranslate2Reader(model_file(location, mmap=mmap))
