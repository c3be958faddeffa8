"""Quantizing with data: nearer to what the layer gave than rounding is."""

import pytest
import torch
from transept_gptq.calibration import calibrate
from transept_gptq.config import GPTQConfig
from transept_gptq.quantizer import gptq

from transept.errors import QuantizationError


def correlated(rows, columns, seed=0):
    """Inputs of a low rank and noise, some columns far stronger: what hidden states look like."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.randn(rows, columns // 8, generator=generator) @ torch.randn(columns // 8, columns, generator=generator)
    strength = torch.exp(torch.randn(columns, generator=generator))
    return (few + 0.3 * torch.randn(rows, columns, generator=generator)) * strength


def built(linear, config, tensors):
    quantizer = gptq(config, None)
    module = quantizer.build(linear, "layer")
    module.load_state_dict({**tensors, **({"bias": linear.bias} if linear.bias is not None else {})}, strict=True)
    return module


@torch.no_grad()
def errors(linear, config, inputs, held_out):
    """Output errors of GPTQ and of rounding to nearest, on inputs that were not seen."""
    found = []
    for seen in (inputs, torch.eye(linear.in_features)):  # columns that never meet cannot make up for each other
        calibration = calibrate(linear, config)
        for part in seen.split(100):
            calibration.add(part)
        module = built(linear, config, calibration.finish())
        found.append(float((module(held_out) - linear(held_out)).square().mean()))
    return found


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"bits": 4}, id="4bit"),
        pytest.param({"bits": 3, "sym": False}, id="3bit-zeros"),
        pytest.param({"bits": 2, "desc_act": True}, id="2bit-act"),
        pytest.param({"bits": 4, "desc_act": True, "sym": False, "format": "gptq_v2"}, id="4bit-act-v2"),
        pytest.param({"bits": 4, "act_group_aware": False, "group_size": -1}, id="4bit-row"),
        pytest.param({"bits": 8, "group_size": 96}, id="8bit-ragged"),
    ],
)
def test_outputs_are_nearer_than_with_rounding(settings):
    torch.manual_seed(0)
    linear = torch.nn.Linear(256, 64)
    config = GPTQConfig(**{"group_size": 32, "damp_percent": 0.01, **settings})
    all_inputs = correlated(800, 256)
    learned, rounded = errors(linear, config, all_inputs[:600], all_inputs[600:])
    assert learned < 0.6 * rounded


def test_without_correlations_it_is_rounding_to_nearest():
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32, bias=False)
    config = GPTQConfig(bits=4, group_size=16, act_group_aware=False)
    calibration = calibrate(linear, config)
    calibration.add(torch.eye(64))
    found = built(linear, config, calibration.finish()).dequantize()
    groups = linear.weight.detach().view(32, 4, 16)
    scale = (2 * groups.abs().amax(-1, keepdim=True) / 15).half().float()
    expected = ((groups / scale).round().clamp(-8, 7) * scale).view(32, 64)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("order", [{"desc_act": True}, {"act_group_aware": True}, {"act_group_aware": False}], ids=str)
def test_groups_of_columns_are_told(order):
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32)
    calibration = calibrate(linear, GPTQConfig(bits=4, group_size=16, **order))
    calibration.add(correlated(200, 64))
    groups = calibration.finish()["g_idx"]
    assert groups.dtype == torch.int32
    assert groups.bincount().tolist() == [16] * 4
    if "desc_act" in order:
        strongest = torch.argsort(correlated(200, 64).square().sum(0), descending=True)[:16]
        assert (groups[strongest] == 0).all()
    else:
        assert torch.equal(groups, torch.arange(64, dtype=torch.int32) // 16)


def test_columns_that_are_never_active_are_rounded_to_nearest():
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32, bias=False)
    inputs = correlated(300, 64)
    inputs[:, 7] = 0
    config = GPTQConfig(bits=8, group_size=64)
    calibration = calibrate(linear, config)
    calibration.add(inputs)
    found = built(linear, config, calibration.finish()).dequantize()
    assert torch.allclose(found[:, 7], linear.weight[:, 7], atol=1e-3)


def test_rows_of_zeros_and_tiny_weights_stay_finite():
    linear = torch.nn.Linear(32, 32, bias=False)
    with torch.no_grad():
        linear.weight[0] = 0
        linear.weight[1] = 1e-9
    config = GPTQConfig(bits=4, group_size=32)
    calibration = calibrate(linear, config)
    calibration.add(correlated(100, 32))
    found = built(linear, config, calibration.finish()).dequantize()
    assert torch.isfinite(found).all()
    assert (found[:2].abs() <= 1e-4).all()


def test_no_data_and_broken_data_are_refused():
    linear = torch.nn.Linear(32, 32)
    calibration = calibrate(linear, GPTQConfig(bits=4))
    with pytest.raises(QuantizationError, match="saw no inputs"):
        calibration.finish()
    calibration.add(torch.full((4, 32), float("nan")))
    with pytest.raises(QuantizationError, match="not finite"):
        calibration.finish()
