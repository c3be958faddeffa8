"""Float weights to bitsandbytes' parameters, in parts that bound what is needed meanwhile; and state dicts back into them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .library import library

__all__ = ["pack_4bit", "pack_8bit", "take_4bit_state", "take_8bit_state"]

_BLOCK = 64
"""Weights that share a scale: what the library takes unless told otherwise, and every checkpoint has."""
_PART = 1 << 20
"""Weights that are packed at a time, a multiple of the block: some 16 MiB of floats meanwhile."""


def pack_4bit(weight: Tensor, quant_type: str, double: bool, storage: torch.dtype) -> Any:
    """A `Params4bit` that stands for a weight: bit for bit what `bitsandbytes.functional.quantize_4bit` makes of it at once.

    Args:
        weight: (rows, columns), float32, bfloat16 or float16.
        quant_type: `nf4` or `fp4`.
        double: pack the blocks' scales in 8 bits too.
        storage: dtype of the packed bytes.
    """
    bnb = library()
    functional = bnb.functional
    parts = [functional.quantize_4bit(part, quant_type=quant_type) for part in weight.contiguous().view(-1).split(_PART)]
    state = parts[0][1]
    packed = torch.cat([part.view(-1) for part, _ in parts])
    scales = torch.cat([part.absmax for _, part in parts])
    offset = second = None
    if double:
        offset = scales.mean()
        scales, second = functional.quantize_blockwise(scales - offset, blocksize=256)
    whole = functional.QuantState(
        absmax=scales,
        shape=weight.shape,
        code=state.code.clone(),
        blocksize=state.blocksize,
        quant_type=quant_type,
        dtype=weight.dtype,
        offset=offset,
        state2=second,
    )
    return bnb.nn.Params4bit(
        packed.view(storage).unsqueeze(1),
        requires_grad=False,
        quant_state=whole,
        blocksize=state.blocksize,
        compress_statistics=double,
        quant_type=quant_type,
        quant_storage=storage,
        bnb_quantized=True,
    )


def pack_8bit(weight: Tensor) -> Any:
    """An `Int8Params` that stands for a weight (rows, columns): integers, and a float32 scale for each row."""
    bnb = library()
    made = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scales = torch.empty(weight.shape[0], device=weight.device)
    step = max(1, _PART // max(1, weight.shape[1]))
    for start in range(0, weight.shape[0], step):
        rows = slice(start, start + step)
        part = weight[rows].contiguous().to(torch.float16)
        made[rows], scales[rows], _ = bnb.functional.int8_vectorwise_quant(part)
    return bnb.nn.Int8Params(made, requires_grad=False, has_fp16_weights=False, CB=made, SCB=scales)


def take_4bit_state(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before `load_state_dict`: the packed weight and its scales become the module's, which its own class leaves undone."""
    parts = _pop(state, f"{prefix}weight.")
    if not parts or f"{prefix}weight" not in state:
        return
    old = module.weight
    data = state[f"{prefix}weight"].detach().to(old.device).clone()
    parts = {name: part.detach().to(old.device).clone() for name, part in parts.items()}
    module.weight = library().nn.Params4bit.from_prequantized(data, parts, device=old.device)
    module.quant_state = module.weight.quant_state


def take_8bit_state(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before `load_state_dict`: the same for 8 bits; its own class can do it only until the first call."""
    scales = state.pop(f"{prefix}SCB", None)
    if scales is None or f"{prefix}weight" not in state:
        return
    device = module.weight.device
    data = state[f"{prefix}weight"].detach().to(device).clone()
    scales = scales.detach().to(device).clone()
    module.weight = library().nn.Int8Params(data, requires_grad=False, has_fp16_weights=False, CB=data, SCB=scales)
    module.state.CB = module.state.SCB = None


def _pop(state: dict[str, Any], start: str) -> dict[str, Any]:
    return {name[len(start) :]: state.pop(name) for name in [name for name in state if name.startswith(start)]}
