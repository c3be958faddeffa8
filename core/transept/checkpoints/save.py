"""From a model to a folder: config, generation config and weights, each replaced whole."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import SaveError
from ..rewrite import saved_tensors
from .key_map import Conversion, KeyMap
from .write import Lazy, save_tensors

__all__ = ["save_model"]


def save_model(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    state_dict: Mapping[str, torch.Tensor] | None = None,
    max_shard_size: int | str = "5GB",
    variant: str | None = None,
) -> None:
    """Write a model so that `from_pretrained`, ours and the peer's, reads it back.

    Tensors leave in their original layout (rewrites and the model's `key_map` are reverted tensor by tensor); of tied ones the
    source is written. `state_dict` has the model's names and layouts, as `model.state_dict()` gives them.

    Raises:
        SaveError: the folder is a file, the disk is full, …; what stood there before still stands.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise SaveError(f"`{target}` is a file: give `save_pretrained` the name of a folder.", path=str(target))
    model.config.validate_config()
    meta = next((name for name, parameter in model.named_parameters() if parameter.is_meta), None)
    if state_dict is None and meta is not None:
        raise SaveError(
            f"`{meta}` has no data here (it is on `meta` or offloaded): pass `state_dict`, or load the model without offload."
        )
    ties = model.tied_weights
    tensors: Mapping[str, Lazy]
    packed: set[str]
    tensors, packed = (state_dict, set()) if state_dict is not None else saved_tensors(model)
    # a declared tie is left out only where it is one: somebody may have set a head of its own
    written = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in ties or ties[name] not in tensors or not _same(tensor, tensors[ties[name]])
    }
    if model.key_map is not None:
        rest = {name: tensor for name, tensor in written.items() if name not in packed}
        written = {name: written[name] for name in written if name in packed} | _in_layout(rest, model.key_map.reversed())
    packing = {id(one.rewrite): one.rewrite for one in model.applied_rewrites if one.rewrite.packs and state_dict is None}
    metadata = dict(ChainMap({"format": "pt"}, *(rewrite.metadata(model) for rewrite in packing.values())))
    save_tensors(target, written, max_shard_size=max_shard_size, variant=variant, metadata=metadata)
    config = model.config.copy_with()
    config.architectures = [type(model).__name__]
    config.dtype = model.dtype
    if not any(applied.rewrite.packs for applied in model.applied_rewrites):
        config.quantization_config = None  # it says what is written, whatever the model was made from
    config.save_pretrained(target)
    generation_config = getattr(model, "generation_config", None)
    if generation_config is not None:
        generation_config.save_pretrained(target)


def _in_layout(tensors: Mapping[str, Lazy], key_map: KeyMap) -> dict[str, Lazy]:
    """The tensors under the names of checkpoints; one that is converted is made when it is written."""

    def make(conversion: Conversion, index: int) -> torch.Tensor:
        held = (tensors[name] for name in conversion.sources)
        return conversion.convert([one if isinstance(one, torch.Tensor) else one() for one in held])[index]

    return {
        name: partial(make, conversion, index) if conversion.changes else tensors[conversion.sources[0]]
        for conversion in key_map.plan(tensors)
        for index, name in enumerate(conversion.targets)
    }


def _same(one: Any, other: Any) -> bool:
    """Whether two tensors are one: the same object, or the same memory seen in the same way.

    A tensor that is only made when it is written (a reverted one) belongs to a rewrite that keeps ties.
    """
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor) or one is other:
        return True
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()
