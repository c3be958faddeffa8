"""A single row is multiplied in two halves; everything else, and all that people see of the model, stays torch's own."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transept_matvec.linear import _SMALL, MatvecLinear
from transept_matvec.rewrite import Matvec, why_not

from transept import AutoModelForCausalLM, AutoModelForSequenceClassification
from transept.rewrite import apply_live, undo


def linear(out: int = 512, inner: int = 256, *, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Linear(inner, out, bias=bias, dtype=dtype)
    assert made.weight.numel() >= _SMALL
    return made


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that `torch.bmm` was called with: whether the halves were used."""
    seen, bmm = [], torch.bmm

    def spy(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(right.shape))
        return bmm(left, right)

    monkeypatch.setattr(torch, "bmm", spy)
    return seen


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with two cores, whatever the tests run on."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(256,), (1, 256), (1, 1, 256), (1, 1, 1, 256)])
def test_a_row_of_any_shape_is_multiplied_in_halves(products, shape, bias) -> None:
    plain = linear(bias=bias)
    row = torch.randn(shape)
    with torch.no_grad():
        found = MatvecLinear(plain)(row)
    torch.testing.assert_close(found, plain(row).detach(), atol=1e-5, rtol=1e-5)
    assert found.shape == (*shape[:-1], 512)
    assert products == [(2, 256, 256)]


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 700))
def test_any_size_gives_what_torch_gives(half: int, inner: int) -> None:
    out = 2 * half * -(-_SMALL // (2 * half * inner))
    plain = linear(out, inner)
    row = torch.randn(1, inner)
    with torch.no_grad():
        torch.testing.assert_close(MatvecLinear(plain)(row), F.linear(row, plain.weight, plain.bias), atol=1e-5, rtol=1e-4)


def test_other_calls_are_torchs(products) -> None:
    def call(layer: nn.Linear, given: torch.Tensor) -> None:
        made = MatvecLinear(layer)
        assert torch.equal(made(given), layer(given))

    call(linear(), torch.randn(1, 256))  # gradients are recorded
    with torch.no_grad():
        call(linear(), torch.randn(2, 256))
        call(linear(), torch.randn(0, 256))
        call(linear(out=513), torch.randn(1, 256))
        call(linear(dtype=torch.float64), torch.randn(1, 256, dtype=torch.float64))
        call(linear(dtype=torch.bfloat16), torch.randn(1, 256, dtype=torch.bfloat16))
        call(nn.Linear(8, 8), torch.randn(1, 8))
        strided = linear()
        strided.weight = nn.Parameter(torch.randn(256, 512).t())
        call(strided, torch.randn(1, 256))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            call(linear(), torch.randn(1, 256))
    assert products == []


def test_gradients_reach_weight_and_input() -> None:
    plain = linear()
    made, row = MatvecLinear(plain), torch.randn(1, 256, requires_grad=True)
    made(row).sum().backward()
    assert made.weight.grad is not None
    assert row.grad is not None


def test_the_wrong_width_is_torchs_own_error() -> None:
    with torch.no_grad(), pytest.raises(RuntimeError):
        MatvecLinear(linear())(torch.randn(1, 255))


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_that_generates_is_loaded_with_it(peer_llama, threads, tied) -> None:
    folder = peer_llama(vocab_size=400, hidden_size=256, intermediate_size=300, num_attention_heads=4, tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_pretrained(folder)
    plain = AutoModelForCausalLM.from_pretrained(folder, automatic_rewrites=False)
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert {type(module) for module in linears} == {MatvecLinear}
    assert {applied.key for applied in model.applied_rewrites} == {"matvec"}
    assert plain.applied_rewrites == []
    assert list(model.state_dict()) == list(plain.state_dict())
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    ids = torch.tensor([[5, 9, 2]])
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    assert torch.equal(model.generate(ids, **settings), plain.generate(ids, **settings))
    with torch.no_grad():
        torch.testing.assert_close(model(ids[:, :1]).logits, plain(ids[:, :1]).logits, atol=1e-5, rtol=1e-5)


def test_it_is_left_out_where_it_does_not_pay(peer_llama, monkeypatch) -> None:
    folder = peer_llama()
    assert AutoModelForSequenceClassification.from_pretrained(folder).applied_rewrites == []
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert why_not(model, torch.device("cpu")) is None or torch.get_num_threads() < 2
    assert why_not(model, None) is not None
    assert why_not(model, torch.device("meta")) is not None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert AutoModelForCausalLM.from_pretrained(folder).applied_rewrites == []


def test_undo_copies_pickles_and_saves(peer_llama, threads, tmp_path) -> None:
    model = AutoModelForCausalLM.from_pretrained(peer_llama())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        undo(twin, "matvec")
        assert {type(m) for m in twin.modules() if isinstance(m, nn.Linear)} == {nn.Linear}
        assert all(torch.equal(twin.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
        assert twin.applied_rewrites == []
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", automatic_rewrites=False)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_rewrites_that_belong_below_it_find_plain_layers(peer_llama, threads) -> None:
    ids = torch.tensor([[5, 9, 2]])
    model = AutoModelForCausalLM.from_pretrained(peer_llama())
    expected = model(ids).logits
    model.rewrite("fuse_projections")
    assert type(model.model.layers[0].mlp.gate_up_proj) is MatvecLinear
    torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-5)
    model.undo_rewrite("fuse_projections")
    assert type(model.model.layers[0].mlp.up_proj) is MatvecLinear
    assert {applied.key for applied in model.applied_rewrites} == {"matvec"}
    torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-5)


def test_it_is_applied_by_name_to_a_model_of_ones_own() -> None:
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256))
    row = torch.randn(1, 256)
    expected = model(row).detach()
    apply_live(model, Matvec())
    with torch.no_grad():
        torch.testing.assert_close(model(row), expected, atol=1e-5, rtol=1e-5)
    undo(model, "matvec")
    assert type(model[0]) is nn.Linear


def test_traced_graphs_hold_torchs_own_product(products) -> None:
    made = MatvecLinear(linear()).eval()
    with torch.no_grad():
        exported = torch.export.export(made, (torch.randn(1, 256),))
    assert products == []
    row = torch.randn(1, 256)
    torch.testing.assert_close(exported.module()(row), F.linear(row, made.weight, made.bias), atol=1e-5, rtol=1e-5)
