"""The core's own format passes the checks that every format passes."""

import pytest
from safetensors.torch import save_file

pytest.importorskip("transept_testing")
from transept_testing import CheckpointFormatConformance


class TestSafetensors(CheckpointFormatConformance):
    key = "safetensors"

    def write_files(self, folder, tensors):
        save_file(tensors, folder / "model.safetensors")
