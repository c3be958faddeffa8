"""Which device each parameter goes to. One device is decided here; several, and offload, are a plugin's work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..discovery import load_object, registry
from ..errors import PlacementError

__all__ = ["Placement", "choose_placement"]

_SPREADING = ("auto", "balanced", "balanced_low_0", "sequential", "disk")


@dataclass
class Placement:
    """Where to put what, and what to do when everything is there."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    device_of: Mapping[str, Any] | None = None
    """Module prefix to device, when there are several; the longest prefix of a parameter's name decides."""
    place: Callable[[str, torch.Tensor], torch.Tensor | None] | None = None
    """Takes a tensor that belongs on "disk" and returns what the parameter keeps."""
    device_map: dict[str, Any] | None = None
    finish_with: Callable[[Any], None] | None = None

    def finish(self, model: Any) -> None:
        """After the weights came: record the map that libraries read, and attach what moves data between devices."""
        if self.device_map is not None:
            model.hf_device_map = dict(self.device_map)
        if self.finish_with is not None:
            self.finish_with(model)


def choose_placement(model: Any, options: Any, dtype: torch.dtype) -> Placement:
    """Decide from `device_map` and `max_memory`; the model is on `meta`.

    Raises:
        PlacementError: the map names an unknown device, or misses modules.
        PluginNotFoundError: more than one device is needed and `transept-accelerate` is not installed.
    """
    wanted = options.device_map
    if wanted is None:
        if options.max_memory is not None or options.offload_folder is not None:
            raise PlacementError('`max_memory` and `offload_folder` only matter with a `device_map`: add `device_map="auto"`.')
        return Placement()
    if isinstance(wanted, Mapping) and set(wanted) == {""}:
        wanted = wanted[""]
    device = None
    if wanted == "auto" and options.max_memory is None:
        device = _roomiest_device(_bytes_needed(model, dtype))
    elif isinstance(wanted, int | torch.device) or (isinstance(wanted, str) and wanted not in _SPREADING):
        device = _parse_device(wanted)
    if device is not None:
        # as libraries expect it: a number for an indexed accelerator, a name otherwise
        plain = device.index if device.type == "cuda" and device.index is not None else str(device)
        return Placement(device=device, device_map={"": plain})
    keys = registry.keys("placements")
    spec = registry.get("placements", keys[0] if keys else "accelerate")
    arguments = {"max_memory": options.max_memory, "dtype": dtype, "offload_folder": options.offload_folder}
    placement: Placement = load_object(spec.plan, owner=spec.key)(model, wanted, **arguments)
    return placement


def _parse_device(name: str | int | torch.device) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise PlacementError(f"`device_map={name!r}` is no device that this machine has: {reason}") from error
    return device


def _bytes_needed(model: Any, dtype: torch.dtype) -> int:
    size = torch.empty(0, dtype=dtype, device="meta").element_size()
    return sum(p.numel() * (size if p.is_floating_point() else p.element_size()) for p in model.parameters())


def _roomiest_device(needed: int) -> torch.device | None:
    """One device on which everything fits: the accelerator with the most free memory, or the CPU where there is none."""
    if not torch.accelerator.is_available():
        return torch.device("cpu")
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    if kind.type != "cuda":
        return kind
    free = {index: torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count())}
    best = max(free, key=lambda index: free[index])
    # a tenth is left for activations and the cache
    return torch.device("cuda", best) if needed <= 0.9 * free[best] else None
