"""Linear layers on AWQ's packed weights, in the two orders that checkpoints have."""

from __future__ import annotations

import torch
from torch import Tensor

from transept.quantization import PackedLinear, packed_words, unpack_bits

__all__ = ["AWQGemmLinear", "AWQGemvLinear", "AWQLinear"]

_NIBBLE = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where each of eight neighbours stands in a word of the order `gemm`: those with even numbers first."""


class AWQLinear(PackedLinear):
    """A linear layer whose weight is `scale * (integer - zero)`, with a scale and a zero for each group of columns."""

    qweight: Tensor
    qzeros: Tensor
    scales: Tensor

    def __init__(self, in_features: int, out_features: int, bias: Tensor | None, group_size: int, path: str = "") -> None:
        super().__init__(in_features, out_features, bias)
        self.group_size, self.path = group_size, path
        self.groups = in_features // group_size
        for name, (shape, dtype) in self.layout().items():
            self.register_buffer(name, torch.empty(shape, dtype=dtype))

    def layout(self) -> dict[str, tuple[tuple[int, int], torch.dtype]]:
        """Shape and dtype of each packed tensor."""
        raise NotImplementedError

    def unpack(self, rows: slice | Tensor) -> Tensor:
        """Rows of the weight: (…, in_features)."""
        integers, zeros, scales = self.parts(rows)
        weight = integers.float().unflatten(-1, (self.groups, self.group_size))
        weight.sub_(zeros.unsqueeze(-1)).mul_(scales.unsqueeze(-1).float())
        return weight.flatten(-2).to(self.compute_dtype or torch.float32)

    def parts(self, rows: slice | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of these rows: integers (…, in_features), zeros (…, groups), scales (…, groups)."""
        raise NotImplementedError


class AWQGemmLinear(AWQLinear):
    """The order `gemm`: words along the rows of the weight.

    Attributes:
        qweight: (in_features, out_features / 8), int32.
        qzeros: (groups, out_features / 8), int32.
        scales: (groups, out_features), float16.
    """

    packing = "awq-gemm"

    def layout(self) -> dict[str, tuple[tuple[int, int], torch.dtype]]:
        words = packed_words(self.out_features, 4)
        return {
            "qweight": ((self.in_features, words), torch.int32),
            "qzeros": ((self.groups, words), torch.int32),
            "scales": ((self.groups, self.out_features), torch.float16),
        }

    def parts(self, rows: slice | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scales = self.scales[:, rows].movedim(0, -1)
        return self._of_rows(self.qweight, rows), self._of_rows(self.qzeros, rows), scales

    def _of_rows(self, packed: Tensor, rows: slice | Tensor) -> Tensor:
        """(n, words) to (…, n): the integers of these rows."""
        if not isinstance(rows, slice):
            nibbles = torch.tensor(_NIBBLE, device=packed.device)[rows % 8]
            return ((packed[:, rows // 8] >> 4 * nibbles) & 15).movedim(0, -1)
        start, stop, _ = rows.indices(self.out_features)
        first, last = start // 8, packed_words(stop, 4)
        values = unpack_bits(packed[:, first:last], 4, 8 * (last - first))
        # the number of a nibble in binary is that of its row with the first digit last
        values = values.unflatten(1, (-1, 2, 2, 2)).permute(1, 3, 4, 2, 0).reshape(-1, len(packed))
        return values[start - 8 * first : stop - 8 * first]


class AWQGemvLinear(AWQLinear):
    """The order `gemv`: words along the columns of the weight, zeros and scales padded.

    Attributes:
        qweight: (out_features, in_features / 8), int32.
        qzeros: (out_features, words), int32.
        scales: (out_features, 8 * words), float16.
    """

    packing = "awq-gemv"

    def layout(self) -> dict[str, tuple[tuple[int, int], torch.dtype]]:
        step = {32: 4, 64: 2}.get(self.group_size, 1)
        words = -(-packed_words(self.groups, 4) // step) * step
        return {
            "qweight": ((self.out_features, packed_words(self.in_features, 4)), torch.int32),
            "qzeros": ((self.out_features, words), torch.int32),
            "scales": ((self.out_features, 8 * words), torch.float16),
        }

    def parts(self, rows: slice | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            unpack_bits(self.qweight[rows], 4, self.in_features),
            unpack_bits(self.qzeros[rows], 4, self.groups),
            self.scales[rows][..., : self.groups],
        )
