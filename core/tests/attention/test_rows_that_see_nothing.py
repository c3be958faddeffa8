"""A query that sees no key gets zeros, and passes finite gradients, in every kernel and dtype."""

import pytest
import torch

from transept.attention import Attention, MaskSpec
from transept.attention.sdpa import _added

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
KEEP = torch.tensor([[False, False, True, True, True], [True] * 5, [False] * 5])


def specs(dtype):
    yield "left padding", MaskSpec.causal(5, keep=KEEP), KEEP.cumsum(-1) > 0
    yield "decode", MaskSpec.causal(1, 5, keep=KEEP), KEEP.any(-1, keepdim=True)
    yield "right of a window", MaskSpec.causal(5, keep=~KEEP.flip(-1), sliding_window=2), None
    allowed = torch.ones(5, 5).tril().bool() & KEEP[:, None]
    for hidden in (-torch.inf, torch.finfo(dtype).min):
        bias = torch.zeros(3, 1, 5, 5, dtype=dtype).masked_fill(~allowed[:, None], hidden)
        yield f"bias of {hidden}", MaskSpec.bidirectional(5, bias=bias), KEEP.cumsum(-1) > 0
    yield "bool bias", MaskSpec.bidirectional(5, bias=allowed[:, None]), KEEP.cumsum(-1) > 0
    yield "keys out of reach", MaskSpec.bidirectional(5, 2, sliding_window=2), (torch.arange(5) < 3).expand(3, 5)


@pytest.mark.parametrize("name", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=str)
def test_zeros_and_finite_gradients(name, dtype, heads, tensors):
    for what, mask, sees in specs(dtype):
        inputs = [t.requires_grad_() for t in tensors(mask, batch=3, heads=heads[0], kv_heads=heads[1], dtype=dtype)]
        output, _ = Attention(name)(*inputs, mask=mask)
        if sees is None:
            sees = mask.materialize("cpu")[:, 0].any(-1)
        nothing = ~sees[:, None, :, None].expand(output.shape)
        assert nothing.any(), what
        assert (output[nothing] == 0).all(), what
        assert (output[~nothing] != 0).all(), what
        output.float().square().sum().backward()
        for tensor in inputs:
            assert torch.isfinite(tensor.grad).all(), what
        assert (inputs[0].grad[nothing.any(-1)] == 0).all(), what


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_a_learned_bias_gets_finite_gradients(name, tensors):
    learned = torch.randn(1, 4, 5, 5, requires_grad=True)
    bias = learned.masked_fill(~KEEP[:, None, None], -torch.inf)
    mask = MaskSpec.bidirectional(5, bias=bias)
    output, _ = Attention(name)(*tensors(mask, batch=3), mask=mask)
    output.square().sum().backward()
    assert torch.isfinite(learned.grad).all()
    assert learned.grad.abs().sum() > 0


def test_weights_of_such_a_row_are_zeros(tensors):
    mask = MaskSpec.causal(5, keep=KEEP)
    _, weights = Attention("eager")(*tensors(mask, batch=3), mask=mask, need_weights=True)
    assert (weights[2] == 0).all()
    assert (weights[0, :, :2] == 0).all()
    torch.testing.assert_close(weights[1].sum(-1), torch.ones(4, 5))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sdpa_never_hands_an_empty_row_to_torch(dtype, tensors):
    """Some of torch's kernels give NaN for it; on the CPU none does."""
    for what, mask, _ in specs(dtype):
        added, empty = _added(mask, tensors(mask, batch=3, dtype=dtype)[0])
        assert torch.isfinite(added).any(-1).all(), what
        assert empty.any(), what
