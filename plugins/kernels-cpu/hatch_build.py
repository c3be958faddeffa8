"""Compiles the native library when the dist is installed or built. Where that cannot be, the dist is installed without it."""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "transept_kernels_cpu/lib/products.so"


class NativeLibrary(BuildHookInterface):
    """`TRANSEPT_NATIVE=0` leaves the library out; `TRANSEPT_NATIVE=1` makes it an error that it cannot be built."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root, asked = Path(self.root), os.environ.get("TRANSEPT_NATIVE", "")
        target, reason = root / NAME, (root / NAME).with_suffix(".txt")
        building = _build_library(root)
        reason.unlink(missing_ok=True)
        try:
            if asked == "0":
                raise building.CannotBuild("`TRANSEPT_NATIVE=0` was set")
            building.build(target)
        except building.CannotBuild as error:
            if asked == "1":
                raise
            target.unlink(missing_ok=True)
            reason.parent.mkdir(exist_ok=True)
            reason.write_text(f"{error}\n")
            self.app.display_warning(f"transept-kernels-cpu is installed without its native library: {error}")
        made = target if target.exists() else reason
        build_data["artifacts"].append(str(made.relative_to(root)))
        if version == "standard" and made == target:
            # the stable ABI of torch, and no Python: one wheel for each kind of machine
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _build_library(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("build_library", root / "build_library.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
