"""A linear layer on a weight of compressed-tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from transept.quantization import PackedLinear, packed_words, unpack_bits

from .scheme import Activations, Scheme

__all__ = ["CompressedLinear"]

_FLOAT8 = torch.float8_e4m3fn


class CompressedLinear(PackedLinear):
    """A linear layer whose weight is `scale * (value - zero)`; inputs are rounded first where the scheme says so.

    Attributes:
        weight_packed: (out_features, in_features * bits / 32), int32: unsigned integers, 2**(bits - 1) more than meant; or
        weight: (out_features, in_features), int8, or uint8 that are the bytes of float8_e4m3fn.
        weight_scale: (1,), (out_features, 1), (out_features, groups) or (row blocks, column blocks).
        weight_zero_point: of the same shape, int8; with `weight_packed` packed along the rows. None where zeros are 0.
        weight_g_idx: (in_features,), int32: the group of each column. None where they are in order.
        input_scale, input_zero_point: (1,), of inputs whose scale is stored.
    """

    packing = "compressed-tensors"
    weight_packed: Tensor | None
    weight: Tensor | None
    weight_scale: Tensor
    weight_zero_point: Tensor | None
    weight_g_idx: Tensor | None
    input_scale: Tensor | None
    input_zero_point: Tensor | None

    def __init__(self, in_features: int, out_features: int, bias: Tensor | None, scheme: Scheme, path: str = "") -> None:
        super().__init__(in_features, out_features, bias)
        self.scheme, self.path = scheme, path
        rows, columns = out_features, in_features
        grid = {
            "tensor": (1,),
            "channel": (rows, 1),
            "group": (rows, columns // (scheme.group_size or columns)),
            "block": _blocks((rows, columns), scheme.block or (rows, columns)),
        }[scheme.strategy]
        shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        if scheme.packed:
            shapes["weight_packed"] = (rows, packed_words(columns, scheme.bits)), torch.int32
        else:
            # plain pickling of 8-bit floats fails in torch, so they are held as bytes
            shapes["weight"] = (rows, columns), torch.uint8 if scheme.kind == "float" else torch.int8
        shapes["weight_scale"] = grid, torch.float32
        if not scheme.symmetric:
            zeros = (packed_words(rows, scheme.bits), *grid[1:]) if scheme.packed else grid
            shapes["weight_zero_point"] = zeros, torch.int32 if scheme.packed else torch.int8
        if scheme.ordered:
            shapes["weight_g_idx"] = (columns,), torch.int32
        if scheme.activations is not None and not scheme.activations.dynamic:
            shapes["input_scale"] = (1,), torch.float32
            if not scheme.activations.symmetric:
                shapes["input_zero_point"] = (1,), torch.int8
        for name in (
            "weight_packed",
            "weight",
            "weight_scale",
            "weight_zero_point",
            "weight_g_idx",
            "input_scale",
            "input_zero_point",
        ):
            shape = shapes.get(name)
            self.register_buffer(name, None if shape is None else torch.empty(shape[0], dtype=shape[1]))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """(…, in_features) to (…, out_features), in the input's dtype."""
        if self.scheme.activations is not None:
            rounded = rounded_inputs(input.detach(), self.scheme.activations, self.input_scale, self.input_zero_point)
            input = input + (rounded - input.detach())  # noqa: A001 (gradients pass the rounding by)
        return super().forward(input)

    def unpack(self, rows: slice | Tensor) -> Tensor:
        """Rows of the weight: (…, in_features)."""
        scheme = self.scheme
        scale, zero = self._spread(self.weight_scale, rows).float(), self._zeros(rows)
        values = self._values(rows)
        if scheme.strategy == "group" and self.weight_g_idx is None:
            values = values.unflatten(-1, (-1, scheme.group_size or 1))
            scale, zero = scale.unsqueeze(-1), None if zero is None else zero.unsqueeze(-1)
        elif scheme.strategy == "group":
            groups = self.weight_g_idx
            scale, zero = scale[..., groups], None if zero is None else zero[..., groups]
        weight = (values if zero is None else values - zero) * scale
        weight = weight.flatten(-2) if scheme.strategy == "group" and self.weight_g_idx is None else weight
        return weight.to(self.compute_dtype or torch.float32)

    def _values(self, rows: slice | Tensor) -> Tensor:
        if self.weight_packed is not None:
            return unpack_bits(self.weight_packed[rows], self.scheme.bits, self.in_features).float() - (
                1 << self.scheme.bits - 1
            )
        assert self.weight is not None
        values = self.weight[rows]
        return (values.view(_FLOAT8) if self.scheme.kind == "float" else values).float()

    def _zeros(self, rows: slice | Tensor) -> Tensor | None:
        if self.weight_zero_point is None:
            return None
        if not self.scheme.packed:
            return self._spread(self.weight_zero_point, rows).float()
        zeros = unpack_bits(self.weight_zero_point, self.scheme.bits, self.out_features, 0).float()
        return zeros[rows] - (1 << self.scheme.bits - 1)

    def _spread(self, grid: Tensor, rows: slice | Tensor) -> Tensor:
        """Scales or zeros for these rows: as they are where one is for all, blocks to rows and columns."""
        if self.scheme.strategy == "tensor":
            return grid
        if self.scheme.strategy != "block":
            return grid[rows]
        assert self.scheme.block is not None
        ids = torch.arange(self.out_features, device=grid.device)[rows] // self.scheme.block[0]
        return grid[ids].repeat_interleave(self.scheme.block[1], -1)[..., : self.in_features]


def _blocks(shape: tuple[int, int], block: tuple[int, int]) -> tuple[int, int]:
    return -(-shape[0] // block[0]), -(-shape[1] // block[1])


def rounded_inputs(inputs: Tensor, settings: Activations, scale: Tensor | None, zero: Tensor | None) -> Tensor:
    """Inputs (…, in_features) to the values that their quantized form stands for."""
    if settings.kind == "float":
        limits = torch.finfo(_FLOAT8)
        low, high = float(limits.min), float(limits.max)
    else:
        low, high = -float(1 << settings.bits - 1), float((1 << settings.bits - 1) - 1)
    if scale is None:
        scale, zero = _measured(inputs, settings, low, high)
    shift = 0.0 if zero is None else zero.to(inputs.dtype)
    scaled = (inputs / scale.to(inputs.dtype) + shift).clamp(low, high)
    rounded = scaled.to(_FLOAT8).to(inputs.dtype) if settings.kind == "float" else scaled.round()
    return (rounded - shift) * scale.to(inputs.dtype)


def _measured(inputs: Tensor, settings: Activations, low: float, high: float) -> tuple[Tensor, Tensor | None]:
    """Scale and zero that let the inputs, and 0, be represented."""
    if settings.strategy == "token":
        smallest, largest = inputs.amin(-1, keepdim=True), inputs.amax(-1, keepdim=True)
    else:
        smallest, largest = inputs.amin(), inputs.amax()
    smallest, largest = smallest.clamp(max=0), largest.clamp(min=0)
    if settings.symmetric:
        scale = torch.maximum(-smallest, largest) / ((high - low) / 2)
        return torch.where(scale == 0, 1.0, scale), None
    scale = (largest - smallest) / (high - low)
    scale = torch.where(scale == 0, 1.0, scale)
    zero = (low - smallest / scale).clamp(low, high)
    return scale, zero.round()
