"""Graphs in onnxruntime beside the model that they were made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .graphs import Graph, Sizes
from .session import Session

__all__ = ["Check", "check_graph", "sizes_for"]


@dataclass(frozen=True)
class Check:
    """One run of one file: the output that is furthest from the model's."""

    file: str
    sizes: Sizes
    output: str
    absolute: float
    """Largest difference of a value."""
    relative: float
    """The same, divided by the largest value of that output."""
    cosine: float
    """Between both, as vectors: what says more where weights are rounded."""
    quantized: bool = False

    def within(self, tolerance: float) -> bool:
        """Near enough; what is not a number is not."""
        return self.relative <= tolerance


def sizes_for(graph: Graph) -> list[Sizes]:
    """Sizes that differ from those it was traced with: one row and several, one token and many, with and without a cache."""
    if graph.cached and graph.reads_source:
        found = [Sizes(1, 1, past=4, source=9), Sizes(3, 1, past=1, source=2), Sizes(2, 3, past=6, source=17)]
    elif graph.cached:
        found = [Sizes(1, 12), Sizes(3, 5), Sizes(1, 1, past=12), Sizes(3, 1, past=6), Sizes(2, 4, past=9)]
    elif graph.reads_source:
        found = [Sizes(1, 1, source=9), Sizes(3, 4, source=2), Sizes(2, 6, source=17)]
    else:
        found = [Sizes(1, 16), Sizes(3, 7), Sizes(2, 33), Sizes(1, 3)]
    longest = graph.longest()
    if longest is None:
        return found
    # a table of learned positions may be short, and some families count from its third row on
    return [sizes for sizes in found if max(sizes.past + sizes.length, sizes.source) <= longest - 2] or [Sizes(1, 1, source=1)]


@torch.no_grad()
def check_graph(graph: Graph, file: Path, sizes: list[Sizes], *, quantized: bool = False) -> list[Check]:
    """Run a file on inputs of each of these sizes, and the model on the same; of a quantized one the first output counts."""
    session = Session(file)
    found = []
    for seed, each in enumerate(sizes):
        inputs = graph.inputs(each, seed)
        made, expected = session.run(inputs), graph(inputs)
        names = list(expected)[:1] if quantized else list(expected)
        checks = [_compare(file.name, each, name, made[name], expected[name], quantized) for name in names]
        found.append(max(checks, key=lambda check: float("inf") if check.relative != check.relative else check.relative))
    return found


def _compare(file: str, sizes: Sizes, name: str, found: Tensor, expected: Tensor, quantized: bool) -> Check:
    if found.shape != expected.shape:
        return Check(file, sizes, name, float("inf"), float("inf"), 0.0, quantized)
    if not expected.numel():
        return Check(file, sizes, name, 0.0, 0.0, 1.0, quantized)
    made, wanted = found.double().flatten(), expected.double().flatten()
    absolute = float((made - wanted).abs().max())
    relative = absolute / max(float(wanted.abs().max()), 1e-12)
    return Check(file, sizes, name, absolute, relative, float(torch.cosine_similarity(made, wanted, dim=0)), quantized)
