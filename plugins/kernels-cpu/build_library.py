"""Compiles the library of products: called by the build hook when the dist is installed or built, and by tests.

It takes a compiler and torch's headers, a few seconds, and nothing else: the library is in torch's stable ABI and knows no Python.

python build_library.py FILE        # compiles it there
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "csrc"
COMMON = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra"]
X86 = ["-mavx2", "-mfma", "-mf16c"]
PATHS = {
    "avx2": X86,
    "avx_vnni": [*X86, "-mavxvnni", "-DPATH_AVX_VNNI"],
    "avx512_vnni": [*X86, "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512vnni", "-DPATH_AVX512_VNNI"],
}
"""One source is compiled for each of these sets of instructions; the library chooses when it is loaded."""
STABLE = "-DTORCH_TARGET_VERSION=0x020a000000000000"
"""torch 2.10: the first whose stable ABI has what is used, and the first that the dist supports."""


class CannotBuild(Exception):
    """Why there is no library: no compiler, no torch, or what the compiler said."""


def compiler() -> list[str]:
    """The command of a C++ compiler: `CXX`, or the first that is found.

    Raises:
        CannotBuild: there is none.
    """
    asked = os.environ.get("CXX", "").split()
    found = [asked] if asked else [[name] for name in ("c++", "g++", "clang++")]
    for command in found:
        if shutil.which(command[0]) is not None:
            return command
    raise CannotBuild(f"no C++ compiler is found ({', '.join(' '.join(one) for one in found)})")


def torch_folder() -> Path:
    """Where torch is installed, without importing it."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise CannotBuild("torch is not installed here, and its headers are needed: install with `--no-build-isolation`")
    return Path(found.origin).parent


def objects(folder: Path, *options: str) -> list[str]:
    """Compile the products, without torch, to object files in a folder; `options` for all of them."""
    base = [*compiler(), *COMMON, *options, "-c"]
    made = {"portable": [*base, str(SOURCES / "portable.cpp")]}
    if platform.machine().lower() in ("x86_64", "amd64"):
        made |= {name: [*base, *flags, str(SOURCES / "x86.cpp")] for name, flags in PATHS.items()}
    for name, command in made.items():
        run([*command, "-o", str(folder / f"{name}.o")])
    return [str(folder / f"{name}.o") for name in made]


def build(target: Path, *options: str) -> None:
    """Compile the library to a file, which then appears as a whole or not at all; `options` go to every call of the compiler.

    Raises:
        CannotBuild: it cannot be compiled here.
    """
    if sys.platform != "linux":
        raise CannotBuild(f"it is built on Linux only, and this is {sys.platform}")
    torch = torch_folder()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [*compiler(), *COMMON, *options, STABLE, f"-I{torch / 'include'}", str(SOURCES / "operators.cpp")]
        run(
            [
                *command,
                *objects(folder, *options),
                "-shared",
                f"-L{torch / 'lib'}",
                "-ltorch_cpu",
                "-o",
                str(folder / "made.so"),
            ]
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_suffix(f".{os.getpid()}")
        shutil.copyfile(folder / "made.so", beside)
        beside.replace(target)


def run(command: list[str]) -> None:
    """Run a compiler.

    Raises:
        CannotBuild: with what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[:20])
        raise CannotBuild(f"the compiler failed: {' '.join(command)}\n{said}")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
