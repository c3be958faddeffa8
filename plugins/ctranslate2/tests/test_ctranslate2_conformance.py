"""CTranslate2's files, written value by value, pass the checks that every format passes."""

import struct

import pytest
import torch

pytest.importorskip("transept_testing")
from transept_testing import CheckpointFormatConformance

_FLOAT32 = 0


def _string(text):
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"


def _variable(name, tensor):
    raw = bytes(tensor.contiguous().view(-1).view(torch.uint8).tolist())
    head = _string(name) + struct.pack(f"<B{tensor.dim()}I", tensor.dim(), *tensor.shape)
    return head + struct.pack("<BI", _FLOAT32, len(raw)) + raw


class TestCTranslate2(CheckpointFormatConformance):
    key = "ctranslate2"

    def write_files(self, folder, tensors):
        made = struct.pack("<I", 6) + _string("WhisperSpec") + struct.pack("<II", 3, len(tensors))
        made += b"".join(_variable(name.replace(".", "/"), tensor) for name, tensor in tensors.items())
        (folder / "model.bin").write_bytes(made + struct.pack("<I", 0))
