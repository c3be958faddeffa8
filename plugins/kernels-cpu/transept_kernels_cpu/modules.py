"""Packed layers with a native product: subclasses of whatever class packed them, with the same tensors."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from transept.quantization import PackedEmbedding, PackedLinear, PackedModule

from .library import packings

__all__ = ["NativeBlocks", "NativeInt8", "native", "serves"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class _Native(PackedModule):
    """What both kinds share: which calls are native, how a class is made and found again."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """As the packed layer's; native on a CPU, where no gradient by the input is recorded."""
        if not isinstance(self, PackedLinear) or not self._fits(input):
            return super().forward(input)  # type: ignore[misc]
        bias = self.bias
        if bias is not None and bias.requires_grad and torch.is_grad_enabled():
            return self._product(input, None) + bias.to(input.dtype)
        return self._product(input, bias)

    def unpack(self, rows: slice | Tensor) -> Tensor:
        """As the packed layer's."""
        found = self._unpacked(rows)
        return super().unpack(rows) if found is None else found.to(self.compute_dtype or torch.float32)  # type: ignore[safe-super]

    def _fits(self, input: Tensor) -> bool:  # noqa: A002
        return (
            input.is_cpu
            and input.dtype in _DTYPES
            and not (input.requires_grad and torch.is_grad_enabled())
            and self._weight().is_cpu
            and input.shape[-1] == self.in_features
            and not torch.is_autocast_enabled("cpu")
        )

    def _weight(self) -> Tensor:
        raise NotImplementedError

    def _product(self, input: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        raise NotImplementedError

    def _unpacked(self, rows: slice | Tensor) -> Tensor | None:
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # the class is made on demand, so copies and pickles name what it is made of
        kind, packed = type(self).__mro__[1:3]
        return _rebuild, (kind, packed), self.__getstate__()

    def __getstate__(self) -> Any:
        return self.__dict__.copy()


class NativeBlocks(_Native):
    """On a `weight` in ggml's blocks: uint8, (rows, bytes of a row)."""

    def _weight(self) -> Tensor:
        return self.weight

    def _product(self, input: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        return torch.ops.transept_kernels_cpu.blocks_linear.default(input, self.weight, bias, self._packing)

    def _unpacked(self, rows: slice | Tensor) -> Tensor | None:
        blocks = self.weight[rows]
        if not blocks.is_cpu or not blocks.is_contiguous():
            return None
        return torch.ops.transept_kernels_cpu.unpack_blocks.default(blocks, self._packing)


class NativeInt8(_Native):
    """On transept-int8's tensors: `qweight`, int8 (rows, columns), and `scales`, float16 (rows, groups)."""

    def _weight(self) -> Tensor:
        return self.qweight

    def _product(self, input: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        return torch.ops.transept_kernels_cpu.int8_linear.default(input, self.qweight, self.scales, bias)

    def _unpacked(self, rows: slice | Tensor) -> Tensor | None:
        qweight, scales = self.qweight[rows], self.scales[rows]
        if not qweight.is_cpu or not qweight.is_contiguous() or not scales.is_contiguous():
            return None
        return torch.ops.transept_kernels_cpu.unpack_int8.default(qweight, scales)


def serves(module: nn.Module) -> bool:
    """Whether there is a native product for this packed layer: its packing, and tensors that are laid out as it expects."""
    if not isinstance(module, PackedLinear | PackedEmbedding) or isinstance(module, _Native):
        return False
    held = {**module._parameters, **module._buffers}
    if module.packing == "int8":
        qweight, scales = held.get("qweight"), held.get("scales")
        return (
            qweight is not None
            and scales is not None
            and (qweight.dtype, scales.dtype) == (torch.int8, torch.float16)
            and qweight.dim() == scales.dim() == 2
            and scales.shape[1] > 0
            and qweight.shape[1] % (32 * scales.shape[1]) == 0
        )
    weight = held.get("weight")
    return module.packing in packings() and weight is not None and weight.dtype == torch.uint8 and weight.dim() == 2


def native(module: Any) -> Any:
    """The layer with a native product: of a class of its own, a subclass of the layer's, sharing the layer's tensors."""
    kind = NativeInt8 if module.packing == "int8" else NativeBlocks
    made = _rebuild(kind, type(module))
    made.__dict__.update(module.__dict__)
    for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
        made.__dict__[name] = made.__dict__[name].copy()
    made._packing = packings()[module.packing]
    return made


def _rebuild(kind: type[Any], packed: type[Any]) -> Any:
    made = _class(kind, packed)
    return made.__new__(made)


@cache
def _class(kind: type[Any], packed: type[Any]) -> type[Any]:
    return type(f"Native{packed.__name__}", (kind, packed), {"__doc__": packed.__doc__, "__module__": packed.__module__})
