"""The native library: where it is, what it holds, and its operators' shapes for graphs that are traced.

Operators, in the namespace `transept_kernels_cpu`; `packing` is a number from `packings()`, inputs are float32, bfloat16 or float16:

- `blocks_linear(input, weight, bias, packing)`: (…, columns) by a weight in ggml's blocks, uint8 (rows, bytes of a row) -> (…, rows).
- `int8_linear(input, qweight, scales, bias)`: by int8 (rows, columns) with float16 scales (rows, groups) -> (…, rows).
- `unpack_blocks(blocks, packing)`: uint8 (…, bytes) -> float32 (…, columns).
- `unpack_int8(qweight, scales)`: int8 (…, columns) and float16 (…, groups) -> float32 (…, columns).
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["FILE", "missing", "packings", "path_taken", "paths", "take_path"]

FILE = Path(__file__).parent / "lib" / "products.so"
"""In a folder of its own, where nobody takes it for a module of Python."""
WHY = FILE.with_suffix(".txt")
"""Why there is no library, as the build said."""


@cache
def missing() -> str | None:
    """None where the library is there and loaded; else one line that says why not."""
    if not FILE.exists():
        why = WHY.read_text().strip().splitlines() if WHY.exists() else []
        return f"its library was not built: {why[0]}" if why else "its library was not built when the dist was installed"
    try:
        torch.ops.load_library(str(FILE))
    except OSError as error:
        return f"its library does not load: {error}"
    _register_shapes()
    return None


@cache
def packings() -> dict[str, int]:
    """Packings that the library multiplies, by name, and the numbers that its operators know them by."""
    if missing() is not None:
        return {}
    return {name: number for number, name in enumerate(_names(_library().transept_packing_name))}


def paths() -> list[str]:
    """Sets of instructions that this processor has and the library has products for, the fastest first."""
    return _names(_library().transept_path_name) if missing() is None else []


def path_taken() -> str:
    """The one in use."""
    return str(_library().transept_taken_path().decode())


def take_path(name: str) -> None:
    """Use another from now on, in the whole process: to measure or to compare.

    Raises:
        ValueError: the processor or the library has none of that name.
    """
    if missing() is not None or not _library().transept_take_path(name.encode()):
        raise ValueError(f"There is no path `{name}` here; there are: {', '.join(paths()) or 'none'}.")


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(FILE))
    for name in ("transept_packing_name", "transept_path_name", "transept_taken_path"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("transept_packing_name", "transept_path_name"):
        getattr(library, name).argtypes = [ctypes.c_int64]
    library.transept_take_path.restype = ctypes.c_bool
    library.transept_take_path.argtypes = [ctypes.c_char_p]
    return library


def _names(ask: ctypes._NamedFuncPointer) -> list[str]:
    found: list[str] = []
    while (name := ask(len(found))) is not None:
        found.append(name.decode())
    return found


def _register_shapes() -> None:
    """Fake kernels: what `torch.compile` and `torch.export` need to know of the results."""

    @torch.library.register_fake("transept_kernels_cpu::blocks_linear")
    def _(input: Tensor, weight: Tensor, bias: Tensor | None, packing: int) -> Tensor:  # noqa: A002
        block, size = _LAYOUTS[packing]
        torch._check(input.shape[-1] == weight.shape[1] // size * block, lambda: "input and packed weight have other columns")
        return input.new_empty((*input.shape[:-1], weight.shape[0]))

    @torch.library.register_fake("transept_kernels_cpu::int8_linear")
    def _(input: Tensor, qweight: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        torch._check(input.shape[-1] == qweight.shape[1], lambda: "input and packed weight have other columns")
        return input.new_empty((*input.shape[:-1], qweight.shape[0]))

    @torch.library.register_fake("transept_kernels_cpu::unpack_blocks")
    def _(blocks: Tensor, packing: int) -> Tensor:
        block, size = _LAYOUTS[packing]
        return blocks.new_empty((*blocks.shape[:-1], blocks.shape[-1] // size * block), dtype=torch.float32)

    @torch.library.register_fake("transept_kernels_cpu::unpack_int8")
    def _(qweight: Tensor, scales: Tensor) -> Tensor:
        return qweight.new_empty(qweight.shape, dtype=torch.float32)


_LAYOUTS = ((32, 18), (32, 20), (32, 22), (32, 24), (32, 34), (256, 144), (256, 176), (256, 210))
"""Weights and bytes of a block, by the packing's number."""
