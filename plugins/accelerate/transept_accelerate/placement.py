"""Spread a model over devices with accelerate: it plans where modules go, and moves data between them.

The core's stream puts each tensor where the plan says as it is read, so nothing exists twice; tensors for "disk" are written
to the offload folder in accelerate's own format and never stay in memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import dispatch_model, infer_auto_device_map
from accelerate.utils import get_balanced_memory, offload_weight, save_offload_index

from transept.checkpoints import Placement
from transept.errors import PlacementError, did_you_mean

__all__ = ["plan"]


def plan(
    model: Any,
    device_map: str | Mapping[str, Any],
    *,
    max_memory: Mapping[Any, int | str] | None,
    dtype: torch.dtype,
    offload_folder: str | os.PathLike[str] | None,
) -> Placement:
    """Decide a device for every module of a model on `meta`.

    Args:
        model: the model; its `_no_split_modules` stay whole.
        device_map: "auto", "balanced", "balanced_low_0", "sequential", "disk", or a mapping of module paths to devices.
        max_memory: bytes (or "2GiB") that may be used on each device, as accelerate takes them.
        dtype: what the floating parameters will have.
        offload_folder: where tensors for "disk" are written; a temporary folder that lives as long as the model when None.

    Raises:
        PlacementError: a device or module is not there, or modules are left without a place.
    """
    if isinstance(device_map, str):
        placed = _planned(model, device_map, max_memory, dtype)
    else:
        _check(model, device_map)
        placed = _disjoint(model, device_map)
    folder: Path | None = None
    keeper: tempfile.TemporaryDirectory[str] | None = None
    index: dict[str, dict[str, Any]] = {}
    if "disk" in placed.values():
        if offload_folder is None:
            keeper = tempfile.TemporaryDirectory(prefix="transept-offload-")
            folder = Path(keeper.name)
        else:
            folder = Path(offload_folder)
            folder.mkdir(parents=True, exist_ok=True)

    def place(name: str, tensor: torch.Tensor) -> torch.Tensor | None:
        if str(_device_of(placed, name)) != "disk":
            return tensor
        offload_weight(tensor, name, str(folder), index)
        return None

    def finish(loaded: Any) -> None:
        if folder is not None:
            save_offload_index(index, str(folder))
        loaded._offload_keeper = keeper
        devices = {str(device) for device in placed.values()}
        if devices != {"cpu"} and (len(devices) > 1 or "disk" in devices):
            dispatch_model(
                loaded,
                device_map=placed,
                offload_dir=str(folder) if folder is not None else None,
                offload_index=index or None,
                skip_keys=loaded._skip_keys_device_placement,
            )

    return Placement(device_of=placed, place=place, device_map=dict(placed), finish_with=finish)


def _planned(model: Any, strategy: str, max_memory: Mapping[Any, int | str] | None, dtype: torch.dtype) -> dict[str, Any]:
    if strategy == "disk":
        return {"": "disk"}
    unsplit = sorted({name for module in model.modules() for name in getattr(module, "_no_split_modules", None) or ()})
    memory: Any = dict(max_memory) if max_memory is not None else None
    if strategy != "sequential" and torch.accelerator.is_available():
        low = strategy == "balanced_low_0"
        memory = get_balanced_memory(model, memory, no_split_module_classes=unsplit, dtype=dtype, low_zero=low)
    model.tie_weights()
    found: dict[str, Any] = infer_auto_device_map(model, max_memory=memory, no_split_module_classes=unsplit, dtype=dtype)
    return found


def _disjoint(model: Any, device_map: Mapping[str, Any]) -> dict[str, Any]:
    """The same map without overlaps, which accelerate's hooks need: `""` with a layer elsewhere becomes everything but that layer."""
    found: dict[str, Any] = {}

    def visit(path: str, module: torch.nn.Module, device: Any) -> None:
        device = device_map.get(path, device)
        if any(other != path and (not path or other.startswith(f"{path}.")) for other in device_map):
            for name, _ in module.named_parameters(recurse=False):
                full = f"{path}.{name}" if path else name
                found[full] = device_map.get(full, device)
            for name, child in module.named_children():
                visit(f"{path}.{name}" if path else name, child, device)
        elif device is not None:
            found[path] = device

    visit("", model, None)
    return found


def _check(model: Any, placed: Mapping[str, Any]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for prefix, device in placed.items():
        if prefix and not any(name == prefix or name.startswith(f"{prefix}.") for name in names):
            modules = [name for name, _ in model.named_modules() if name]
            raise PlacementError(
                f"`device_map` names `{prefix}`, which the model does not have.{did_you_mean(prefix, modules)}"
            )
        if device == "disk":
            continue
        try:
            torch.empty(0, device=device)
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise PlacementError(f"`device_map` puts `{prefix}` on `{device}`, which is not here: {reason}") from error
    homeless = [name for name in names if _device_of(placed, name) is None]
    if homeless:
        raise PlacementError(
            f'`device_map` leaves `{homeless[0]}` and {len(homeless) - 1} more without a device: add them, or "" for the rest.'
        )


def _device_of(placed: Mapping[str, Any], name: str) -> Any:
    """The device of the longest module path that leads to the parameter."""
    path = name
    while path:
        if path in placed:
            return placed[path]
        path = path.rpartition(".")[0]
    return placed.get("")
