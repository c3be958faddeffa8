"""AWQ's packing, against vectors written by hand, a slow reading of the README, and compressed-tensors' own converter."""

import pytest
import torch
from transept_awq.linear import AWQGemmLinear, AWQGemvLinear

KINDS = {"gemm": AWQGemmLinear, "gemv": AWQGemvLinear}


def filled(packed, rows, columns, size, version):
    built = KINDS[version](columns, rows, None, size)
    built.load_state_dict(packed, strict=True)
    return built


@pytest.mark.parametrize("version", ["gemm", "gemv"])
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_weights_are_what_the_layout_says(layer, version, size):
    packed, weight = layer(24, 128, size, version)
    built = filled(packed, 24, 128, size, version)
    assert torch.equal(built.dequantize(), weight)
    for rows in (slice(0, 8), slice(5, 20), slice(23, 24), torch.tensor([[3, 0], [23, 3]])):
        assert torch.equal(built.unpack(rows), weight[rows])


def test_gemm_by_hand():
    """From the lowest four bits: rows 0, 2, 4, 6, 1, 3, 5, 7. Zero 1, scale 0.5."""
    built = AWQGemmLinear(8, 8, None, 8)
    built.qweight = torch.tensor([[0x76543210]] + [[0x11111111]] * 7, dtype=torch.int32)
    built.qzeros = torch.tensor([[0x11111111]], dtype=torch.int32)
    built.scales = torch.full((1, 8), 0.5).half()
    expected = [(nibble - 1) / 2 for nibble in (0, 4, 1, 5, 2, 6, 3, 7)]
    assert built.dequantize()[:, 0].tolist() == expected
    assert (built.dequantize()[:, 1:] == 0).all()


def test_gemm_is_what_another_converter_reads(layer):
    """compressed-tensors turns AWQ's layout into its own."""
    converters = pytest.importorskip("compressed_tensors.entrypoints.convert")
    packed, weight = layer(32, 64, 16)
    converter = converters.AutoAWQConverter.from_autoawq_config({"bits": 4, "group_size": 16, "zero_point": True})
    integers, scale, zero = converter._convert_gemm_module(packed["qweight"], packed["scales"], packed["qzeros"])
    theirs = (integers.float().unflatten(1, (-1, 16)) - zero.float()[..., None]) * scale.float()[..., None]
    assert torch.equal(theirs.flatten(1), weight)
    assert torch.equal(filled(packed, 32, 64, 16, "gemm").dequantize(), weight)
