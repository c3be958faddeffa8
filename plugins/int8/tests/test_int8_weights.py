"""Packing keeps to its layout and its error bound, and says which layer it cannot pack."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transept_int8.config import Int8Config
from transept_int8.linear import Int8Linear, pack
from transept_int8.quantizer import Int8

from transept.errors import QuantizationError, UnknownArgumentError
from transept.quantization import quantization_from
from transept.rewrite import apply_live, undo


def packed(linear: nn.Linear, **options: int) -> Int8Linear:
    model = nn.Sequential(copy.deepcopy(linear))
    apply_live(model, Int8(Int8Config(**options)))
    return model[0]


def test_a_group_worked_out_by_hand() -> None:
    weight = torch.tensor([[127.0, -1.0, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0], [-2.54, 0.02, 0.03, 1.0, 63.5, -127.0, 0.5, 0.49]])
    qweight, scales = pack(weight, 4)
    assert qweight.tolist() == [[127, -1, 0, 0, 0, 0, 0, 0], [-127, 1, 1, 50, 64, -127, 0, 0]]
    assert scales.tolist() == [[1.0, 0.0], [pytest.approx(0.02, rel=1e-3), 1.0]]


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 4), st.sampled_from([1, 7, 32, 64]), st.integers(-20, 20), st.integers(0, 99))
def test_every_weight_is_within_half_a_step(rows: int, groups: int, size: int, exponent: int, seed: int) -> None:
    weight = torch.randn(rows, groups * size, generator=torch.Generator().manual_seed(seed)) * 2.0**exponent
    qweight, scales = pack(weight, size)
    assert qweight.abs().max() <= 127
    assert scales.shape == (rows, groups)
    steps = scales.float().repeat_interleave(size, 1)
    error = (qweight * steps - weight).abs()
    assert bool((error <= 0.5 * steps + 0.4 * steps * (qweight.abs() == 127)).all())


def test_weights_near_zero_are_not_lost_and_zeros_stay() -> None:
    weight = torch.full((1, 32), 1e-7)
    qweight, scales = pack(weight, 32)
    torch.testing.assert_close(qweight * scales.float(), weight, atol=3e-8, rtol=0)
    assert pack(torch.zeros(2, 32), 32)[0].count_nonzero() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [32, 16, -1])
def test_a_product_is_that_of_the_unpacked_weight(dtype: torch.dtype, bias: bool, size: int) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 40, bias=bias).to(dtype)
    found = packed(linear, group_size=size)
    assert found.scales.shape == (40, 1 if size == -1 else 96 // size)
    given = torch.randn(2, 3, 96, dtype=dtype)
    with torch.no_grad():
        wanted = F.linear(given, found.dequantize().to(dtype))
        wanted = wanted if found.bias is None else wanted + found.bias
        assert found(given).dtype == dtype
        torch.testing.assert_close(found(given), wanted)
        near = linear(given).float()
        assert (found(given).float() - near).norm() < 0.02 * near.norm()


def test_rows_are_unpacked_by_slice_and_by_ids() -> None:
    found = packed(nn.Linear(64, 10))
    whole = found.dequantize()
    ids = torch.tensor([[3, 3], [9, 0]])
    assert torch.equal(found.unpack(slice(2, 5)), whole[2:5])
    assert torch.equal(found.unpack(ids), whole[ids])


def test_a_change_of_dtype_leaves_the_weight_as_it_is() -> None:
    found = packed(nn.Linear(64, 10))
    whole = found.dequantize()
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        found.to(dtype)
        assert found.bias.dtype == found.dequantize().dtype == dtype
        assert found.scales.dtype == torch.float16
    assert torch.equal(found.dequantize(), whole)
    assert found.to("meta").scales.is_meta


def test_gradients_reach_the_input_and_an_adapter() -> None:
    torch.manual_seed(0)
    found = packed(nn.Linear(64, 10))
    down, up = nn.Linear(64, 4, bias=False), nn.Linear(4, 10, bias=False)
    row = torch.randn(3, 64, requires_grad=True)
    (found(row) + up(down(row))).square().sum().backward()
    grad, row.grad = row.grad, None
    (F.linear(row, found.dequantize(), found.bias) + up(down(row))).square().sum().backward()
    torch.testing.assert_close(grad, row.grad)
    assert down.weight.grad.count_nonzero() > 0
    assert {name for name, parameter in found.named_parameters() if parameter.requires_grad} == {"bias"}
    assert found.bias.grad is not None


def test_twins_by_copy_pickle_and_state_dict() -> None:
    found, row = packed(nn.Linear(64, 10)), torch.randn(2, 64)
    fresh = Int8Linear(64, 10, torch.zeros(10), 32)
    fresh.load_state_dict(found.state_dict())
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found)), fresh):
        assert torch.equal(twin(row), found(row))


def test_undo_gives_the_values_that_the_integers_stand_for() -> None:
    model = nn.Sequential(nn.Linear(64, 10))
    apply_live(model, Int8(Int8Config()))
    whole = model[0].dequantize()
    undo(model, "int8")
    assert type(model[0]) is nn.Linear
    assert torch.equal(model[0].weight, whole)


def test_a_group_size_that_does_not_divide_names_the_layer() -> None:
    model = nn.ModuleDict({"narrow": nn.Linear(48, 8)})
    with pytest.raises(QuantizationError, match=r"`narrow` has 48 input features.*group_size=16"):
        apply_live(model, Int8(Int8Config()))
    with pytest.raises(QuantizationError, match=r"group_size=-1"):
        apply_live(nn.ModuleDict({"odd": nn.Linear(7, 8)}), Int8(Int8Config()))
    apply_live(model, Int8(Int8Config(group_size=-1)))
    assert model["narrow"].group_size == 48


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e9])
def test_a_weight_that_cannot_be_packed_names_the_layer_and_leaves_the_model(value: float) -> None:
    model = nn.ModuleDict({"first": nn.Linear(32, 8), "second": nn.Linear(32, 8)})
    with torch.no_grad():
        model["second"].weight[3, 5] = value
    with pytest.raises(QuantizationError, match=r"`second` cannot be packed in 8 bits"):
        apply_live(model, Int8(Int8Config()))
    assert type(model["first"]) is nn.Linear


@pytest.mark.parametrize("size", [0, -2, 1.5, "all"])
def test_a_group_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(QuantizationError, match="group_size"):
        Int8Config(group_size=size)


def test_settings_by_name_preset_and_dict() -> None:
    assert quantization_from("int8").group_size == 32
    assert quantization_from("int8-row").group_size == -1
    assert quantization_from({"quant_method": "int8", "group_size": 64}).group_size == 64
    with pytest.raises(UnknownArgumentError, match="group_size"):
        Int8Config(group_sise=8)
