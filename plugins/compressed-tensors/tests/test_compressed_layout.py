"""The layouts of compressed-tensors, against vectors written by hand."""

import pytest
import torch
from transept_compressed_tensors.config import CompressedTensorsConfig
from transept_compressed_tensors.linear import CompressedLinear, rounded_inputs
from transept_compressed_tensors.scheme import Activations, schemes


def scheme(layout="pack-quantized", inputs=None, **weights):
    group = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", **weights}, "input_activations": inputs}
    return schemes(CompressedTensorsConfig(config_groups={"one": group}, format=layout))[0]


def test_packed_integers_are_unsigned_and_begin_in_the_lowest_bits():
    built = CompressedLinear(8, 2, None, scheme(strategy="channel"))
    built.weight_packed = torch.tensor([[0x76543210], [-0x01234568]], dtype=torch.int32)  # 0xFEDCBA98
    built.weight_scale = torch.tensor([[0.5], [2.0]])
    assert built.dequantize().tolist() == [[-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5], [0, 2, 4, 6, 8, 10, 12, 14]]


def test_packed_zeros_run_along_the_rows():
    built = CompressedLinear(8, 3, None, scheme(strategy="group", group_size=4, symmetric=False))
    built.weight_packed = torch.full((3, 1), 0x11111111 * 7, dtype=torch.int32)  # 7 - 8 = -1
    built.weight_scale = torch.ones(3, 2)
    built.weight_zero_point = torch.tensor([[0x987, 0x678]], dtype=torch.int32)  # rows 7, 8, 9 and 8, 7, 6, each less 8
    assert built.dequantize().tolist() == [[0.0] * 4 + [-1.0] * 4, [-1.0] * 4 + [0.0] * 4, [-2.0] * 4 + [1.0] * 4]


def test_columns_can_have_groups_of_their_own():
    built = CompressedLinear(8, 1, None, scheme(strategy="group", group_size=4, actorder="group"))
    built.weight_packed = torch.tensor([[0x11111111]], dtype=torch.int32) * 9
    built.weight_packed = torch.tensor([[-0x66666667]], dtype=torch.int32)  # 0x99999999: each 1
    built.weight_scale = torch.tensor([[1.0, 10.0]])
    built.weight_g_idx = torch.tensor([1, 0, 1, 0, 0, 0, 1, 1], dtype=torch.int32)
    assert built.dequantize().tolist() == [[10, 1, 10, 1, 1, 1, 10, 10]]


def test_blocks_may_be_cut_at_the_edges():
    built = CompressedLinear(
        5, 3, None, scheme("naive-quantized", type="float", num_bits=8, strategy="block", block_structure=[2, 4])
    )
    built.weight = torch.ones(3, 5).to(torch.float8_e4m3fn).view(torch.uint8)
    built.weight_scale = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert built.dequantize().tolist() == [[1, 1, 1, 1, 2], [1, 1, 1, 1, 2], [3, 3, 3, 3, 4]]
    assert built.unpack(torch.tensor([[2], [0]])).tolist() == [[[3, 3, 3, 3, 4]], [[1, 1, 1, 1, 2]]]
    assert built.unpack(slice(1, 3)).tolist() == [[1, 1, 1, 1, 2], [3, 3, 3, 3, 4]]


def test_inputs_are_rounded_position_by_position():
    inputs = torch.tensor([[[1.0, -127.5, 64.2], [0.5, 0.25, 0.1]]])
    settings = Activations(bits=8, kind="int", symmetric=True, strategy="token", dynamic=True)
    found = rounded_inputs(inputs, settings, None, None)
    step = torch.tensor([1.0, 0.5 / 127.5])
    assert torch.allclose(found, (inputs / step[:, None]).round().clamp(-128, 127) * step[:, None])
    assert torch.equal(rounded_inputs(torch.zeros(2, 3), settings, None, None), torch.zeros(2, 3))


def test_inputs_with_a_stored_scale_saturate():
    settings = Activations(bits=8, kind="float", symmetric=True, strategy="tensor", dynamic=False)
    found = rounded_inputs(torch.tensor([1.0, 1.06, 1e4]), settings, torch.tensor([1.0]), None)
    assert found.tolist() == [1.0, 1.0, 448.0]


@pytest.mark.parametrize("inputs", [None, {"num_bits": 8, "strategy": "token", "dynamic": True}], ids=["floats", "rounded"])
def test_gradients_pass_through_the_rounding(inputs):
    built = CompressedLinear(16, 4, torch.zeros(4), scheme("int-quantized", inputs, num_bits=8, strategy="channel"))
    built.weight = torch.randint(-128, 128, (4, 16), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    built.weight_scale = torch.full((4, 1), 0.01)
    x = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
    built(x).sum().backward()
    assert torch.allclose(x.grad, built.dequantize().sum(0).expand_as(x), atol=1e-5)
