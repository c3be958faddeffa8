"""What a quantization did, as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transept_cli.console import size_of

__all__ = ["Outcome", "report"]


@dataclass(frozen=True)
class Outcome:
    """A model, before or after."""

    parameters: int
    bytes: int
    """Of the weights: in memory, or in the files of `folder`."""
    perplexity: float | None

    @classmethod
    def of(cls, model: Any, perplexity: float | None, folder: Path | None = None) -> Outcome:
        size = (
            sum(file.stat().st_size for file in folder.glob("*.safetensors"))
            if folder is not None
            else model.get_memory_footprint()
        )
        return cls(model.num_parameters(), size, perplexity)

    def line(self) -> str:
        return f"{size_of(self.bytes)}, perplexity {_number(self.perplexity)}"


def _number(perplexity: float | None) -> str:
    return "not measured" if perplexity is None else f"{perplexity:.3f}"


def report(
    model: str,
    settings: Any,
    quantized: list[str],
    before: Outcome,
    after: Outcome,
    *,
    seconds: float,
    tokens: int,
    data: Path | None,
) -> str:
    """A page: what was done with which settings, sizes, perplexity, layers."""
    change = ""
    if before.perplexity and after.perplexity:
        change = f"{100 * (after.perplexity / before.perplexity - 1):+.2f} %"
    listed = {name: value for name, value in settings.to_dict().items() if value is not None}
    lines = [
        f"# {model}, quantized with {settings.quant_method}",
        "",
        "| | before | after | change |",
        "|---|---|---|---|",
        f"| weights | {size_of(before.bytes)} | {size_of(after.bytes)} | times {after.bytes / before.bytes:.3f} |",
        f"| bytes a parameter | {before.bytes / before.parameters:.2f} | {after.bytes / before.parameters:.2f} | |",
        f"| perplexity ({tokens:,} tokens) | {_number(before.perplexity)} | {_number(after.perplexity)} | {change} |",
        "",
        f"It took {seconds:.0f} s." + (f" Calibrated with `{data.name}`." if data is not None else ""),
        "",
        "## Settings",
        "",
        *(f"- `{name}`: {value}" for name, value in listed.items()),
        "",
        f"## Layers ({len(quantized)})",
        "",
        *(f"- `{path}`" for path in quantized),
    ]
    return "\n".join(lines) + "\n"
