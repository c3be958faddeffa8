"""Packed weights with any content, what they stand for, and a path of instructions at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from transept_gguf.blocks import dequantize, kind_of
from transept_kernels_cpu.library import missing, packings, path_taken, paths, take_path

SCALES = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
}
"""Where a block has its float16 numbers."""


@pytest.fixture(autouse=True)
def _same_path_after() -> Iterator[None]:
    """Nothing here can be tested without the library; that it is there where a compiler is, is a test of its own."""
    if missing() is not None:
        pytest.skip(str(missing()))
    before = path_taken()
    torch.manual_seed(0)
    yield
    take_path(before)


@pytest.fixture(params=["portable", "avx2", "avx_vnni", "avx512_vnni"])
def path(request: pytest.FixtureRequest) -> str:
    """Each path that this processor has."""
    if request.param not in paths():
        pytest.skip(f"this processor has no {request.param}")
    take_path(request.param)
    return request.param


@pytest.fixture
def random_blocks() -> Callable[..., Tensor]:
    """Make rows of a packing with random bits and sane scales: (rows, bytes of a row)."""

    def make(name: str, rows: int, columns: int, seed: int = 0) -> Tensor:
        kind, generator = kind_of(name), torch.Generator().manual_seed(seed)
        blocks = torch.randint(
            0, 256, (rows, columns // kind.block_size, kind.type_size), dtype=torch.uint8, generator=generator
        )
        for at in SCALES[name]:
            scale = torch.randn(*blocks.shape[:2], 1, generator=generator) * 0.01
            blocks[..., at : at + 2] = scale.half().view(torch.uint8)
        return blocks.view(rows, -1)

    return make


@pytest.fixture
def unpacked() -> Callable[..., Tensor]:
    """What rows of blocks stand for, by slow code in torch: (rows, columns)."""

    def make(name: str, weight: Tensor) -> Tensor:
        kind = kind_of(name)
        return dequantize(weight, kind, (len(weight), weight.shape[1] // kind.type_size * kind.block_size))

    return make


@pytest.fixture
def rounded() -> Callable[[Tensor], Tensor]:
    """Activations as a product of few rows sees them: integers from -127 to 127 and a scale for each 32; float64."""

    def make(rows: Tensor) -> Tensor:
        blocks = rows.float().unflatten(-1, (-1, 32))
        largest = blocks.abs().amax(-1, keepdim=True)
        integers = torch.where(largest > 0, blocks * (127 / largest), 0).round()
        return (integers.double() * (largest / 127).double()).flatten(-2)

    return make


@pytest.fixture
def number() -> Callable[[str], int]:
    return lambda name: packings()[name]
