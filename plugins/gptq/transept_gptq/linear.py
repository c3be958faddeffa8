"""A linear layer on GPTQ's packed weight."""

from __future__ import annotations

import torch
from torch import Tensor

from transept.quantization import PackedLinear, packed_words, unpack_bits

__all__ = ["GPTQLinear"]


class GPTQLinear(PackedLinear):
    """A linear layer whose weight is `scales[g] * (integer - zero[g])`, g being the group of the column.

    Attributes:
        qweight: (in_features * bits / 32, out_features), int32: integers packed along the columns of the weight.
        qzeros: (groups, out_features * bits / 32), int32: zeros packed along its rows, less one where `zero_offset` is 1.
        scales: (groups, out_features), float16.
        g_idx: (in_features,), int32: the group of each column.
    """

    packing = "gptq"
    qweight: Tensor
    qzeros: Tensor
    scales: Tensor
    g_idx: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: Tensor | None,
        *,
        bits: int,
        groups: int,
        zero_offset: int,
        path: str = "",
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.bits, self.zero_offset, self.path = bits, zero_offset, path
        self.register_buffer("qweight", torch.empty(packed_words(in_features, bits), out_features, dtype=torch.int32))
        self.register_buffer("qzeros", torch.empty(groups, packed_words(out_features, bits), dtype=torch.int32))
        self.register_buffer("scales", torch.empty(groups, out_features, dtype=torch.float16))
        self.register_buffer("g_idx", torch.empty(in_features, dtype=torch.int32))

    def unpack(self, rows: slice | Tensor) -> Tensor:
        """Rows of the weight: (…, in_features)."""
        integers = unpack_bits(self.qweight[:, rows], self.bits, self.in_features, 0)  # (in_features, …)
        zeros = unpack_bits(self.qzeros, self.bits, self.out_features)[:, rows]  # (groups, …)
        zeros = (zeros + self.zero_offset) & ((1 << self.bits) - 1)  # a zero of 0, less one, was stored as the largest
        scales = self.scales[:, rows].float()
        # integer * scale - zero * scale in two steps would round twice
        weight = (integers.float() - zeros.float()[self.g_idx]) * scales[self.g_idx]
        return weight.movedim(0, -1).to(self.compute_dtype or torch.float32)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.bits}, groups={len(self.scales)}"
