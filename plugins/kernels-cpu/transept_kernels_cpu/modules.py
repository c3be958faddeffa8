"""Packed layers with a native product: subclasses of whatever class packed them, with the same tensors.

A token of a small model goes through hundreds of these, so `forward` looks up what it needs in the module's own dicts.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from transept.quantization import PackedEmbedding, PackedLinear, PackedModule

from .library import packings

__all__ = ["native", "serves"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class _Native(PackedModule):
    """What all share: how a class is made on demand, copied and pickled, and where rows are unpacked."""

    def unpack(self, rows: slice | Tensor) -> Tensor:
        """As the packed layer's own."""
        found = self._unpacked(rows)
        return super().unpack(rows) if found is None else found.to(self.compute_dtype or torch.float32)  # type: ignore[safe-super]

    def _unpacked(self, rows: slice | Tensor) -> Tensor | None:
        """Rows in float32; None where native code cannot."""
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        kinds, packed = type(self).__bases__[:-1], type(self).__bases__[-1]
        return _instance, (kinds, packed), self.__dict__.copy()


class _Blocks(_Native):
    """On a `weight` in ggml's blocks: uint8, (rows, bytes of a row)."""

    def _unpacked(self, rows: slice | Tensor) -> Tensor | None:
        blocks = self.weight[rows]
        fits = blocks.is_cpu and blocks.is_contiguous()
        return torch.ops.transept_kernels_cpu.unpack_blocks.default(blocks, self._packing) if fits else None


class _Int8(_Native):
    """On transept-int8's tensors: `qweight`, int8 (rows, columns), and `scales`, float16 (rows, groups)."""

    def _unpacked(self, rows: slice | Tensor) -> Tensor | None:
        qweight, scales = self.qweight[rows], self.scales[rows]
        fits = qweight.is_cpu and qweight.is_contiguous() and scales.is_contiguous()
        return torch.ops.transept_kernels_cpu.unpack_int8.default(qweight, scales) if fits else None


class _Product(PackedLinear):
    """The native product, where input and weight are on a CPU and no gradient by the input is recorded."""

    def _fits(self, input: Tensor, weight: Tensor) -> bool:  # noqa: A002 (torch's own name)
        return (
            input.is_cpu
            and weight.is_cpu
            and input.dtype in _DTYPES
            and not (input.requires_grad and torch.is_grad_enabled())
            and not torch.is_autocast_enabled("cpu")
        )

    def _own_bias(self) -> Tensor | None:
        """The bias, unless its gradient is wanted: then torch adds it."""
        bias = self.bias
        return bias if bias is None or not (bias.requires_grad and torch.is_grad_enabled()) else None

    def _with_bias(self, product: Tensor, added: Tensor | None) -> Tensor:
        bias = self.bias
        return product if bias is added else product + bias.to(product.dtype)


class _BlocksProduct(_Product):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(…, in_features) to (…, out_features), in the input's dtype."""
        weight = self._parameters["weight"]
        if not self._fits(input, weight):  # type: ignore[arg-type]
            return super().forward(input)
        bias = self._own_bias()
        return self._with_bias(torch.ops.transept_kernels_cpu.blocks_linear.default(input, weight, bias, self._packing), bias)


class _Int8Product(_Product):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(…, in_features) to (…, out_features), in the input's dtype."""
        qweight = self._parameters["qweight"]
        if not self._fits(input, qweight):  # type: ignore[arg-type]
            return super().forward(input)
        bias = self._own_bias()
        return self._with_bias(
            torch.ops.transept_kernels_cpu.int8_linear.default(input, qweight, self._buffers["scales"], bias), bias
        )


def serves(module: nn.Module) -> bool:
    """Whether there is native code for this packed layer: its packing, and tensors that are laid out as it expects."""
    if not isinstance(module, PackedLinear | PackedEmbedding) or isinstance(module, _Native):
        return False
    held = {**module._parameters, **module._buffers}
    if module.packing == "int8":
        return isinstance(module, PackedLinear) and _whole_groups(held.get("qweight"), held.get("scales"))
    weight = held.get("weight")
    return module.packing in packings() and weight is not None and weight.dtype == torch.uint8 and weight.dim() == 2


def _whole_groups(qweight: Tensor | None, scales: Tensor | None) -> bool:
    """Products run over 32 columns at a time, so a group is one or several times as many."""
    if qweight is None or scales is None or (qweight.dtype, scales.dtype) != (torch.int8, torch.float16):
        return False
    return qweight.dim() == scales.dim() == 2 and scales.shape[1] > 0 and qweight.shape[1] % (32 * scales.shape[1]) == 0


def native(module: Any) -> Any:
    """The layer with native code: of a class of its own, a subclass of the layer's, holding the same tensors."""
    kinds: tuple[type[Any], ...] = (_Int8,) if module.packing == "int8" else (_Blocks,)
    if isinstance(module, PackedLinear):
        kinds = (_Int8Product if module.packing == "int8" else _BlocksProduct, *kinds)
    made = _instance(kinds, type(module))
    made.__dict__.update(module.__dict__)
    for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
        made.__dict__[name] = made.__dict__[name].copy()
    made._packing = packings()[module.packing]
    return made


def _instance(kinds: tuple[type[Any], ...], packed: type[Any]) -> Any:
    """An empty instance. Where a pickle is read on a machine without the library, of the packed layer's own class."""
    made = _class(kinds, packed) if packings() else packed
    return made.__new__(made)


@cache
def _class(kinds: tuple[type[Any], ...], packed: type[Any]) -> type[Any]:
    return type(f"Native{packed.__name__}", (*kinds, packed), {"__doc__": packed.__doc__, "__module__": packed.__module__})
