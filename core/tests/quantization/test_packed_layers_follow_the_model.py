"""What `model.to(...)` does to a packed layer."""

import pytest
import torch

from transept.quantization import PackedLinear


class Scaled(PackedLinear):
    packing = "scaled"

    def __init__(self):
        super().__init__(3, 2, torch.ones(2))
        self.register_buffer("levels", torch.arange(6, dtype=torch.int8).view(2, 3))
        self.register_buffer("scales", torch.tensor([[1.001], [0.3333]]))

    def unpack(self, rows):
        return (self.levels[rows] * self.scales[rows]).to(self.compute_dtype or torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_scales_keep_their_bits_where_the_model_changes_its_dtype(dtype):
    layer, before = Scaled(), Scaled().scales
    layer.to(dtype)
    assert layer.scales.dtype == torch.float32
    assert torch.equal(layer.scales, before)
    assert layer.bias.dtype == layer.unpack(slice(None)).dtype == dtype
    assert layer.levels.dtype == torch.int8


def test_scales_go_where_the_model_goes():
    layer = Scaled().to("meta", torch.bfloat16)
    assert layer.scales.is_meta
    assert layer.scales.dtype == torch.float32
