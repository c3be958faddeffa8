"""A model's weights in a checkpoint: as `save_pretrained` writes them, and back into the live model, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from transept.checkpoints.save import save_model
from transept.checkpoints.write import save_tensors
from transept.errors import CheckpointError, CorruptFileError, shorten
from transept.files import weight_files
from transept.model import PreTrainedModel

__all__ = ["load_tensors", "load_weights", "save_weights", "write_model"]

LIVE = "live.safetensors"
"""Parameters under the names and in the layouts of the live model: only where the model's own file has others."""


def write_model(model: nn.Module, folder: Path, state_dict: Mapping[str, Tensor] | None = None) -> None:
    """Write the model as `from_pretrained` reads it; a plain module as `model.safetensors`."""
    if isinstance(model, PreTrainedModel):
        save_model(model, folder, state_dict=state_dict)
    elif hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)
    else:
        save_tensors(folder, _distinct(model.state_dict() if state_dict is None else state_dict))


def save_weights(model: nn.Module, folder: Path) -> None:
    """Write the model, and beside it what a resumed run could not take from that file as it stands."""
    write_model(model, folder)
    own = _distinct(model.state_dict())
    plain = not isinstance(model, PreTrainedModel) or (model.key_map is None and not model.applied_rewrites)
    if not plain or hasattr(model, "peft_config") or _shapes(folder) != {name: tuple(one.shape) for name, one in own.items()}:
        trained = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}
        frozen = {name for name, parameter in model.named_parameters(remove_duplicate=False)} - trained
        kept = {name: one for name, one in own.items() if name not in frozen}
        save_file({name: one.contiguous() for name, one in kept.items()}, folder / LIVE)


def _distinct(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor once: of several names for the same memory the first."""
    seen: set[tuple[Any, ...]] = set()
    found = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            continue
        mark = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else (name,)
        if mark not in seen:
            seen.add(mark)
            found[name] = tensor
    return found


def _model_files(folder: Path) -> list[Path]:
    names = weight_files([path.name for path in folder.iterdir()], (".safetensors",))
    return [folder / name for name in names if name.startswith(("model", "adapter_model"))]


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    found = {}
    for path in _model_files(folder):
        with safe_open(path, "pt") as file:
            found.update({name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118
    return found


def load_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """All tensors of a file. Raises: CorruptFileError."""
    try:
        with safe_open(path, "pt", device=device) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # what safetensors raises has no class of its own
        raise CorruptFileError(f"`{path}` cannot be read: {error}", path=str(path)) from error


@torch.no_grad()
def load_weights(model: nn.Module, folder: Path) -> None:
    """Put a checkpoint's weights into the live model. Raises: CheckpointError when they are another model's."""
    live = folder / LIVE
    files = [live] if live.exists() else _model_files(folder)
    own = model.state_dict()
    loaded: set[int] = set()
    strange, misshapen = [], []
    for path in files:
        for name, tensor in load_tensors(path).items():
            target = own.get(name)
            if target is None:
                strange.append(name)
            elif target.shape != tensor.shape:
                misshapen.append(f"{name} {tuple(tensor.shape)} for {tuple(target.shape)}")
            else:
                target.copy_(tensor)
                loaded.add(target.data_ptr())
    missing = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.numel() and parameter.data_ptr() not in loaded
    ]
    if strange or misshapen or missing:
        parts = (("does not have", strange), ("has another shape for", misshapen), ("is not given", missing))
        said = "; ".join(f"this model {what} {shorten(names, 3)}" for what, names in parts if names)
        raise CheckpointError(f"`{folder}` was made with another model than this `{type(model).__name__}`: {said}.")
