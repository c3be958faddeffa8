"""The generators of a process, as JSON: Python's, numpy's, torch's on the CPU and on the device."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

__all__ = ["restore_randomness", "saved_randomness"]


def saved_randomness() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state()
    found: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [str(name), [int(key) for key in keys], int(place), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state().numpy().tobytes().hex()
    return found


def restore_randomness(found: dict[str, Any]) -> None:
    version, words, gauss = found["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, place, has_gauss, cached = found["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), place, has_gauss, cached))
    torch.set_rng_state(_bytes(found["torch"]))
    if "cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state(_bytes(found["cuda"]))


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
