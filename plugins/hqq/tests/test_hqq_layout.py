"""HQQ's packing, against vectors written by hand and against hqq's own reading."""

import pytest
import torch
from transept_hqq.config import HqqConfig
from transept_hqq.linear import HQQLinear, Layout
from transept_hqq.packing import pack, unpack
from transept_hqq.quantizer import HQQ

quantize = pytest.importorskip("hqq.core.quantize", reason="hqq is the reference")

CASES = [
    pytest.param(bits, axis, size, id=f"{bits}bit-axis{axis}-{size}")
    for bits in (8, 4, 3, 2, 1)
    for axis, size in ((1, 16), (0, 16), (1, 32), (0, 64))
]


def theirs(weight, bits, axis, size, **more):
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    settings = quantize.BaseQuantizeConfig(nbits=bits, group_size=size, axis=axis, **more)
    return quantize.HQQLinear(linear, settings, compute_dtype=torch.float32, device="cpu")


def ours(layer, bits, axis, size):
    """Their tensors in our layer, as from a file."""
    state = {name: value for name, value in layer.state_dict().items() if name != "bias"}
    quantizer = HQQ(HqqConfig(nbits=bits, axis=axis, group_size=size))
    linear = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
    built = quantizer.build(linear, "model.layers.0.up_proj")
    names = quantizer.stored_names(state, {})
    assert set(names) == set(state)
    built.load_state_dict(quantizer.restore(state, built), strict=True)
    return quantizer, built


@pytest.mark.parametrize(("bits", "axis", "size"), CASES)
def test_what_hqq_packed_is_read_and_what_we_store_hqq_reads(bits, axis, size):
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    layer = theirs(weight, bits, axis, size)
    quantizer, built = ours(layer, bits, axis, size)
    expected = layer.dequantize()
    assert torch.allclose(built.dequantize(), expected, atol=1e-6)
    ids = torch.tensor([[3, 0], [47, 3]])
    for rows in (slice(0, 1), slice(5, 31), ids):
        assert torch.equal(built.unpack(rows), built.dequantize()[rows])
    stored = quantizer.stored({"W_q": built.W_q, "scale": built.scale, "zero": built.zero}, built)
    state = layer.state_dict()
    other = theirs(torch.zeros_like(weight), bits, axis, size)
    other.load_state_dict({**stored, "W_q": torch.nn.Parameter(stored["W_q"], requires_grad=False)})
    assert torch.equal(other.dequantize(), expected)
    assert {name: tensor.tolist() for name, tensor in stored.items()} == {
        name: tensor.tolist() for name, tensor in state.items() if name in stored
    }
    assert set(state) == set(stored)


def test_bytes_under_the_name_of_a_float_are_read():
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    layer = theirs(weight, 4, 1, 64, view_as_float=True)
    assert layer.W_q.is_floating_point()
    _, built = ours(layer, 4, 1, 64)
    assert torch.allclose(built.dequantize(), theirs(weight, 4, 1, 64).dequantize(), atol=1e-6)


def test_lines_lie_over_each_other():
    """By hand: of four lines of 4 bits, the first two are in the high nibbles."""
    lines = torch.tensor([[1], [2], [3], [4]])
    assert pack(lines, 4).tolist() == [[0x13], [0x24]]
    assert pack(torch.arange(8).view(8, 1) % 2, 1).tolist() == [[0b01010101]]
    assert pack(torch.tensor([[3], [2], [1], [0]]), 2).tolist() == [[0b11100100]]
    three = torch.arange(11).view(11, 1) % 8  # filled up to twenty: lines 0, 2, … and 1, 3, … share a word, from bit 27 down
    even, odd = (sum(int(three[line, 0]) << (27 - 3 * (line // 2)) for line in range(start, 11, 2)) for start in (0, 1))
    assert pack(three, 3).tolist() == [[even], [odd]]
    assert torch.equal(unpack(pack(three, 3), 3, 11), three.to(torch.uint8))


def test_groups_across_rows_are_read():
    """A group may be longer than a row, with either axis."""
    for axis in (0, 1):
        layout = Layout(rows=6, columns=8, bits=4, group_size=24, axis=axis)
        built = HQQLinear(layout, None)
        generator = torch.Generator().manual_seed(0)
        integers = torch.randint(0, 16, (layout.lines, layout.width), generator=generator)
        built.W_q, built.scale, built.zero = (
            pack(integers, 4),
            torch.rand(layout.scales, generator=generator),
            torch.rand(layout.scales, generator=generator),
        )
        expected = ((integers - built.zero) * built.scale).view(6, 8)
        assert torch.allclose(built.dequantize(), expected)
        assert torch.allclose(built.unpack(torch.tensor([4, 1])), expected[[4, 1]])
