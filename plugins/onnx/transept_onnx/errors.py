"""What goes wrong between a model and its ONNX file."""

from __future__ import annotations

from transept.errors import TranseptError

__all__ = ["ExportCheckError", "ExportError"]


class ExportError(TranseptError):
    """A model cannot become an ONNX graph. For an operator that ONNX lacks, `operator` names it and `module` who uses it."""


class ExportCheckError(ExportError):
    """The graph gives other numbers than the model. `report` has them all."""
