"""What a load did, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import shorten

__all__ = ["LoadReport", "Mismatch"]


@dataclass(frozen=True)
class Mismatch:
    """A tensor whose shape is not the parameter's."""

    name: str
    stored: tuple[int, ...]
    expected: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: {list(self.stored)} in the checkpoint, {list(self.expected)} in the model"


@dataclass
class LoadReport:
    """What came from where. Names are the model's, except `unexpected`, which are the checkpoint's after the key map."""

    format: str
    files: tuple[str, ...] = ()
    source: str = ""
    missing: list[str] = field(default_factory=list)
    """Needed and absent; only with `strict=False`. They were initialised, and are in `newly_initialized` too."""
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[Mismatch] = field(default_factory=list)
    newly_initialized: list[str] = field(default_factory=list)
    tied: dict[str, str] = field(default_factory=dict)
    """Target name to source name: one `Parameter` in memory."""
    converted: list[str] = field(default_factory=list)
    """Parameters that are not the file's bytes: another dtype, layout or device, or several tensors in one."""
    rewritten: list[tuple[str, str, str]] = field(default_factory=list)
    """(rewrite key, module path, why)."""
    placed_elsewhere: list[str] = field(default_factory=list)
    """Left on `meta` by the placement: offloaded."""
    tensors: int = 0
    bytes: int = 0
    """Read from the files."""
    seconds: float = 0.0

    @property
    def absent(self) -> list[str]:
        """Those of `newly_initialized` that the checkpoint has in no shape."""
        there = {one.name for one in self.mismatched}
        return [name for name in self.newly_initialized if name not in there]

    def as_loading_info(self) -> dict[str, list[object]]:
        """The dict that `from_pretrained(..., output_loading_info=True)` returns beside the model."""
        return {
            "missing_keys": [*self.absent],
            "unexpected_keys": [*self.unexpected],
            "mismatched_keys": [(one.name, one.stored, one.expected) for one in self.mismatched],
            "error_msgs": [],
        }

    def __str__(self) -> str:
        rate = f"{self.tensors} tensors, {self.bytes / 1e6:,.1f} MB in {self.seconds:.2f} s"
        lines = [f"{self.format}: {rate} from {shorten(self.files, 2) or self.source or 'memory'}"]
        if self.tied:
            lines.append(f"tied: {', '.join(f'`{target}` to `{source}`' for target, source in self.tied.items())}")
        for key in dict.fromkeys(key for key, _, _ in self.rewritten):
            paths = [path for one, path, _ in self.rewritten if one == key]
            lines.append(f"rewritten by `{key}`: {shorten(paths, 3)}")
        for words, names in (
            ("missing, newly initialised", self.missing),
            ("newly initialised", [name for name in self.absent if name not in self.missing]),
            ("in the checkpoint, unused", self.unexpected),
            ("mismatched, newly initialised", self.mismatched),
            ("offloaded", self.placed_elsewhere),
        ):
            if names:
                lines.append(f"{words}: {shorten(names)}")
        return "\n".join(lines)
