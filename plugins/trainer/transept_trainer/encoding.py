"""Optimizer and scheduler states as JSON, with their tensors aside: nothing is pickled, and every bit comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from transept.errors import CorruptFileError, SaveError

__all__ = ["decode", "encode"]


def encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The JSON of a value; its tensors go into `tensors` under names that begin with `name`.

    Raises: SaveError for what could only be pickled.
    """
    if isinstance(value, Tensor):
        if type(value) not in (Tensor, torch.nn.Parameter) or value.layout != torch.strided:
            raise _unwritable(value, name)
        tensors[name] = value.detach()
        return {"$tensor": name, "on": "cpu" if value.device.type == "cpu" else "device"}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return encode(value.item(), name, tensors)
    if isinstance(value, list | tuple):
        items = [encode(item, f"{name}.{place}", tensors) for place, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        pairs = [[encode(key, name, tensors), encode(item, f"{name}.{key}", tensors)] for key, item in value.items()]
        return {"$dict": pairs}
    raise _unwritable(value, name)


def _unwritable(value: Any, name: str) -> SaveError:
    return SaveError(
        f"`{name}` is a `{type(value).__name__}`, which can be written neither as JSON nor as safetensors, and nothing is pickled "
        "here: use another optimizer or schedule, or set `save_only_model=True`."
    )


def decode(value: Any, tensors: dict[str, Tensor], device: torch.device) -> Any:
    """What `encode` was given; tensors that were on a device go to this one.

    Raises: CorruptFileError when a tensor is missing.
    """
    if isinstance(value, list):
        return [decode(item, tensors, device) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        if value["$tensor"] not in tensors:
            raise CorruptFileError(f"The checkpoint lacks the tensor `{value['$tensor']}` of its optimizer.")
        tensor = tensors[value["$tensor"]]
        return tensor if value.get("on") == "cpu" else tensor.to(device)
    if "$tuple" in value:
        return tuple(decode(item, tensors, device) for item in value["$tuple"])
    return {decode(key, tensors, device): decode(item, tensors, device) for key, item in value.get("$dict", [])}
