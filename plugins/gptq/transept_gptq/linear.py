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
        weight = unpack_bits(self.qweight[:, rows], self.bits, self.in_features, 0).movedim(0, -1).float()  # (…, in_features)
        zeros = unpack_bits(self.qzeros, self.bits, self.out_features)[:, rows]  # (groups, …)
        # a zero of 0, less one, was stored as the largest
        zeros = ((zeros + self.zero_offset) & ((1 << self.bits) - 1)).movedim(0, -1).float()
        scales = self.scales[:, rows].movedim(0, -1).float()
        # in this order: integer * scale - zero * scale would round twice
        if self._in_order():
            groups = weight.unflatten(-1, (scales.shape[-1], -1))
            groups.sub_(zeros.unsqueeze(-1)).mul_(scales.unsqueeze(-1))
        else:
            groups_of = self.g_idx
            weight.sub_(zeros[..., groups_of]).mul_(scales[..., groups_of])
        return weight.to(self.compute_dtype or torch.float32)

    def _in_order(self) -> bool:
        """Whether groups are equal parts of the columns in their order, so that nothing need be gathered. Elsewhere than on a CPU
        a look would wait for the device, and gathering is cheap."""
        groups, columns = len(self.scales), self.in_features
        if self.g_idx.device.type != "cpu" or columns % groups:
            return False
        return torch.equal(self.g_idx, torch.arange(groups, dtype=self.g_idx.dtype).repeat_interleave(columns // groups))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.bits}, groups={len(self.scales)}"
