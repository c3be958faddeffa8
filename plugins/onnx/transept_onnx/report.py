"""What an export wrote and measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from .check import Check

__all__ = ["ExportReport", "File"]


@dataclass(frozen=True)
class File:
    """One graph with its weights."""

    name: str
    bytes: int
    seconds: float
    """What tracing and translating it took, or quantizing."""


@dataclass
class ExportReport:
    """The files of an export, and how near each comes to the model. `str` gives a table."""

    model: str
    tolerance: float
    files: list[File] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every output of every file that is not quantized is within the tolerance."""
        return all(check.within(self.tolerance) for check in self.checks if not check.quantized)

    def __str__(self) -> str:
        lines = [f"{self.model} as ONNX"]
        width = max(len(file.name) for file in self.files)
        lines += [f"  {file.name:<{width}}  {file.bytes / 1e6:9.1f} MB  {file.seconds:6.1f} s" for file in self.files]
        lines += ["", "onnxruntime beside the model, largest difference of any output"]
        sizes = max(len(str(check.sizes)) for check in self.checks)
        for check in self.checks:
            where = f"  {check.file:<{width}}  {check.sizes!s:<{sizes}}"
            if check.quantized:
                lines.append(f"{where}  cosine {check.cosine:.4f} ({check.output}), 8-bit weights")
                continue
            verdict = "ok" if check.within(self.tolerance) else "DIFFERS"
            lines.append(f"{where}  {check.absolute:.1e}, {check.relative:.1e} of scale ({check.output})  {verdict}")
        return "\n".join(lines)
