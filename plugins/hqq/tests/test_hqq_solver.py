"""Half-quadratic quantization without data: nearer than rounding, and as near as hqq's."""

import pytest
import torch
from transept_hqq.solver import solve

quantize = pytest.importorskip("hqq.core.quantize", reason="hqq is the reference")


def heavy(rows, columns, seed=0):
    """Weights with outliers, as real ones have them."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    return 0.02 * weight * (1 + 4 * (torch.rand(rows, columns, generator=generator) < 0.02))


def error(groups, bits, axis, round_zero=False):
    integers, scale, zero = solve(groups, bits, axis, round_zero)
    return float(((integers - zero) * scale - groups).abs().pow(0.7).mean())


def nearest(groups, bits, axis):
    top = 2**bits - 1
    low, high = groups.amin(axis, keepdim=True), groups.amax(axis, keepdim=True)
    scale = (high - low) / top
    return float((((groups - low) / scale).round() * scale + low - groups).abs().pow(0.7).mean())


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [8, 4, 3, 2, 1])
def test_weights_are_nearer_than_with_rounding(bits, axis):
    groups = heavy(256, 64) if axis == 1 else heavy(64, 256)
    found, rounded = error(groups, bits, axis), nearest(groups, bits, axis)
    assert found <= rounded
    if bits in (2, 3):
        assert found < 0.99 * rounded


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [8, 4, 3, 2, 1])
def test_weights_are_as_near_as_hqqs(bits, axis):
    weight = heavy(128, 128)
    size = 64
    groups = weight.reshape(-1, size) if axis == 1 else weight.reshape(size, -1)
    packed, meta = quantize.Quantizer.quantize(
        weight, nbits=bits, group_size=size, axis=axis, round_zero=bits == 4, device="cpu", compute_dtype=torch.float32
    )
    meta["compute_dtype"] = torch.float32
    theirs = float((quantize.Quantizer.dequantize(packed, meta) - weight).abs().pow(0.7).mean())
    assert error(groups, bits, axis, bits == 4) <= 1.01 * theirs


def test_constant_groups_and_zeros_stay_finite():
    groups = torch.stack((torch.zeros(16), torch.full((16,), 0.3), torch.full((16,), -2.0), torch.linspace(-1, 1, 16)))
    integers, scale, zero = solve(groups, 4, 1, True)
    found = (integers - zero) * scale
    assert torch.isfinite(found).all()
    assert torch.equal(found[0], groups[0])
    assert (found[3] - groups[3]).abs().max() < 0.1
