"""GPTQ's packing, against vectors written by hand and a slow reading of the specification in the README."""

import pytest
import torch
from transept_gptq.linear import GPTQLinear

CASES = [
    pytest.param(bits, version, shuffled, sym, id=f"{bits}bit-v{version}{'-act' * shuffled}{'-sym' * sym}")
    for bits in (2, 3, 4, 8)
    for version, shuffled, sym in ((1, False, True), (1, True, False), (2, False, False), (2, True, True))
]


def filled(packed, rows, columns, bits, version):
    built = GPTQLinear(columns, rows, None, bits=bits, groups=len(packed["scales"]), zero_offset=2 - version)
    built.load_state_dict(packed, strict=True)
    return built


@pytest.mark.parametrize(("bits", "version", "shuffled", "sym"), CASES)
def test_weights_are_what_the_layout_says(layer, bits, version, shuffled, sym):
    packed, weight = layer(32, 64, bits, 16, version=version, shuffled=shuffled, sym=sym)
    built = filled(packed, 32, 64, bits, version)
    assert torch.equal(built.dequantize(), weight)
    assert torch.equal(built.unpack(slice(5, 20)), weight[5:20])
    ids = torch.tensor([[3, 0], [31, 3]])
    assert torch.equal(built.unpack(ids), weight[ids])


def test_four_bits_by_hand():
    """The first column's integer is in the lowest bits; a zero of 8 is stored as 7; scale 0.5."""
    built = GPTQLinear(8, 8, None, bits=4, groups=1, zero_offset=1)
    built.qweight = torch.tensor([[0x76543210] + [0] * 7], dtype=torch.int32)
    built.qzeros = torch.tensor([[0x77777777]], dtype=torch.int32)
    built.scales = torch.full((1, 8), 0.5).half()
    built.g_idx = torch.zeros(8, dtype=torch.int32)
    assert built.unpack(slice(0, 1)).tolist() == [[-4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5]]
    assert (built.unpack(slice(1, 8)) == -4.0).all()


def test_a_zero_that_had_nothing_below_it_is_zero():
    """0 less one is stored as the largest integer."""
    built = GPTQLinear(8, 8, None, bits=4, groups=1, zero_offset=1)
    built.qweight = torch.full((1, 8), 0x11111111, dtype=torch.int32)
    built.qzeros = torch.tensor([[-1]], dtype=torch.int32)
    built.scales = torch.ones(1, 8).half()
    built.g_idx = torch.zeros(8, dtype=torch.int32)
    assert (built.dequantize() == 1.0).all()


def test_products_and_their_gradients_are_those_of_the_weight(layer):
    packed, weight = layer(32, 64, 4, 16)
    built = filled(packed, 32, 64, 4, 1)
    x = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y = x.detach().clone().requires_grad_()
    built(x).square().sum().backward()
    (y @ weight.T).square().sum().backward()
    assert torch.allclose(built(x), y @ weight.T, atol=1e-5)
    assert torch.allclose(x.grad, y.grad, rtol=1e-4, atol=1e-4)
