"""Each built-in kernel gives what a loop over rows and keys gives: every mask kind, their intersections, grouped heads, dtypes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transept.attention import Attention, MaskSpec
from transept.attention.eager import eager_attention
from transept.attention.sdpa import sdpa_attention

KERNELS = {"eager": eager_attention, "sdpa": sdpa_attention}


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_a_mask_materialises_is_what_it_says(data, draw_mask, sees):
    mask = draw_mask(data.draw, batch=2, heads=2)
    expected = torch.tensor(
        [
            [
                [[sees(mask, row, head, i, j) for j in range(mask.key_length)] for i in range(mask.query_length)]
                for head in (0, 1)
            ]
            for row in (0, 1)
        ]
    )
    found = mask.materialize("cpu")
    if found is None:
        assert expected.all()
        assert not mask.needs_mask
    else:
        assert found.shape[2:] == (mask.query_length, mask.key_length)
        assert torch.equal(found.expand(expected.shape), expected)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), heads=st.sampled_from([(2, 2), (4, 2), (3, 1)]))
def test_every_mask(data, heads, draw_mask, tensors, loop):
    mask = draw_mask(data.draw, batch=2, heads=heads[0])
    query, key, value = tensors(mask, heads=heads[0], kv_heads=heads[1])
    expected = loop(query, key, value, mask)
    for name, kernel in KERNELS.items():
        found, _ = kernel(query, key, value, mask=mask)
        torch.testing.assert_close(found, expected.float(), msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
@pytest.mark.parametrize("lengths", [(5, 5), (1, 6), (3, 7)], ids=str)
@pytest.mark.parametrize("padding", ["none", "left", "right", "holes"])
def test_every_dtype_and_padding(name, dtype, tolerance, lengths, padding, tensors, loop):
    queries, keys = lengths
    keep = torch.ones(2, keys, dtype=torch.bool)
    keep[0] = {
        "none": keep[0],
        "left": torch.arange(keys) > 1,
        "right": torch.arange(keys) < keys - 1,
        "holes": torch.arange(keys) % 2 == 0,
    }[padding]
    mask = MaskSpec.causal(queries, keys, keep=None if padding == "none" else keep)
    query, key, value = tensors(mask, dtype=dtype)
    found, _ = Attention(name)(query, key, value, mask=mask)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), loop(query, key, value, mask), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("length", [3, 4, 5])
def test_windows_one_below_at_and_above_the_length(name, length, tensors, loop):
    for queries in (length, 1):
        for kind in ("causal", "bidirectional"):
            mask = MaskSpec(kind, queries, length, query_offset=length - queries, sliding_window=4)
            query, key, value = tensors(mask)
            found, _ = Attention(name)(query, key, value, mask=mask)
            torch.testing.assert_close(found, loop(query, key, value, mask).float())


@pytest.mark.parametrize(
    "mask",
    [
        MaskSpec("causal", 3, 3, query_offset=2),
        MaskSpec("causal", 2, 6, query_offset=1),
        MaskSpec("bidirectional", 2, 6, sliding_window=3),
        MaskSpec("bidirectional", 5, 2, chunk=2),
        MaskSpec("bidirectional", 5, 5, chunk=6, keep=torch.arange(5).expand(2, -1) > 1),
        MaskSpec("causal", 6, 6, chunk=2, keep=torch.arange(6) >= torch.tensor([[3], [0]])),
    ],
    ids=str,
)
def test_lengths_that_fit_by_chance(mask, tensors, loop):
    query, key, value = tensors(mask)
    for kernel in KERNELS.values():
        found, _ = kernel(query, key, value, mask=mask)
        torch.testing.assert_close(found, loop(query, key, value, mask).float())


@pytest.mark.parametrize("name", KERNELS)
def test_a_scale_is_taken(name, tensors, loop):
    mask = MaskSpec.causal(4)
    query, key, value = tensors(mask)
    found, _ = Attention(name)(query, key, value, mask=mask, scale=1.5)
    torch.testing.assert_close(found, loop(query, key, value, mask, scale=1.5).float())


def test_softcap_and_sinks_are_eagers(tensors, loop):
    sinks = torch.tensor([0.5, -1.0, 2.0, 0.0])
    keep = torch.tensor([[False, False, True, True], [True] * 4])
    mask = MaskSpec.causal(4, keep=keep)
    query, key, value = tensors(mask)
    found, _ = Attention()(query, key, value, mask=mask, softcap=0.7, sinks=sinks)
    torch.testing.assert_close(found, loop(query, key, value, mask, softcap=0.7, sinks=sinks).float())
    found, _ = Attention()(query, key, value, mask=mask, softcap=0.7)
    torch.testing.assert_close(found, loop(query, key, value, mask, softcap=0.7).float())


def test_weights_add_up_and_give_the_output(tensors):
    mask = MaskSpec.causal(4)
    query, key, value = tensors(mask)
    output, weights = Attention()(query, key, value, mask=mask, need_weights=True)
    assert weights.shape == (2, 4, 4, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 4))
    assert (weights.triu(1) == 0).all()
    torch.testing.assert_close(weights @ value.repeat_interleave(2, 1), output)


def test_a_value_may_have_another_size_than_a_key(tensors, loop):
    mask = MaskSpec.causal(3, 5)
    query, key, _ = tensors(mask)
    value = torch.randn(2, 2, 5, 6)
    for name in KERNELS:
        found, _ = Attention(name)(query, key, value, mask=mask)
        torch.testing.assert_close(found, loop(query, key, value, mask).float())


@pytest.mark.parametrize("name", KERNELS)
def test_dropout_drops_and_keeps_the_mean(name, tensors):
    mask = MaskSpec.causal(4)
    query, key, value = (tensor.expand(2000, -1, -1, -1) for tensor in tensors(mask, batch=1))
    plain, _ = Attention(name)(query[:1], key[:1], value[:1], mask=mask)
    torch.manual_seed(0)
    dropped, _ = Attention(name)(query, key, value, mask=mask, dropout=0.3)
    assert not torch.equal(dropped[:1], plain)
    torch.testing.assert_close(dropped.mean(0, keepdim=True), plain, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_are_those_of_the_function(name, tensors):
    bias = torch.randn(1, 4, 3, 5, dtype=torch.float64).requires_grad_()
    keep = torch.tensor([[False, True, True, True, False], [True] * 5])
    for mask in (MaskSpec.causal(3), MaskSpec.causal(3, 5, keep=keep, sliding_window=3), MaskSpec.causal(1, 5), bias):
        spec = MaskSpec.causal(3, 5, bias=bias) if mask is bias else mask
        inputs = [tensor.detach().requires_grad_() for tensor in tensors(spec, dtype=torch.float64, head_dim=4)]
        extra = [bias] if mask is bias else []

        def attend(query, key, value, *bias, spec=spec):
            if bias:
                spec = MaskSpec.causal(3, 5, bias=bias[0])
            return KERNELS[name](query, key, value, mask=spec)[0]

        assert torch.autograd.gradcheck(attend, (*inputs, *extra), fast_mode=True)
