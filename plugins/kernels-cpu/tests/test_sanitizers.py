"""The products under AddressSanitizer and UBSan: alone on memory of the exact size, and as torch's operators."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DIST = Path(__file__).parents[1]
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")


@pytest.fixture(scope="module")
def building() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_library", DIST / "build_library.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.full
def test_every_path_on_odd_shapes(building, tmp_path) -> None:
    program = tmp_path / "sanitized"
    source, objects = str(DIST / "tests/sanitized.cpp"), building.objects(tmp_path, *SANITIZERS)
    building.run([*building.compiler(), *building.COMMON, *SANITIZERS, source, *objects, "-o", str(program)])
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " 0 failures" in done.stdout
    assert int(done.stdout.splitlines()[-1].split()[0]) > 10_000


_OPERATORS = """
import ctypes, sys, torch
torch.ops.load_library(sys.argv[1])
operators = torch.ops.transept_kernels_cpu
layouts = [(32, 18), (32, 20), (32, 22), (32, 24), (32, 34), (256, 144), (256, 176), (256, 210)]
for packing, (block, size) in enumerate(layouts):
    for rows in (1, 5, 67):
        weight = torch.full((rows, 3 * size), 17, dtype=torch.uint8)
        for count in (0, 1, 3, 8, 9, 33):
            for dtype in (torch.float32, torch.bfloat16):
                given = torch.ones(count, 3 * block, dtype=dtype)
                assert operators.blocks_linear(given, weight, torch.ones(rows), packing).shape == (count, rows)
        operators.unpack_blocks(weight, packing)
qweight, scales = torch.ones(67, 192, dtype=torch.int8), torch.ones(67, 2, dtype=torch.float16)
for count in (1, 7, 40):
    assert torch.equal(operators.int8_linear(torch.ones(count, 192), qweight, scales, None), torch.full((count, 67), 192.0))
print("clean")
"""


@pytest.mark.full
def test_the_operators(building, tmp_path) -> None:
    library = tmp_path / "products.so"
    building.build(library, *SANITIZERS)
    runtime = [
        subprocess.run(
            [*building.compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {"LD_PRELOAD": " ".join(runtime), "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}
    done = subprocess.run(
        [sys.executable, "-c", _OPERATORS, library],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert done.stdout.strip() == "clean"
