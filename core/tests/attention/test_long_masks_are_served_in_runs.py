"""A mask that would be large is never held as a whole by sdpa, and its runs give what the whole gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transept.attention import MaskSpec, sdpa
from transept.attention.eager import eager_attention
from transept.attention.sdpa import sdpa_attention


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.integers(1, 4))
def test_runs_put_together_are_the_mask(data, size, draw_mask):
    mask = draw_mask(data.draw, batch=2, heads=2)
    whole = torch.zeros(2, 2, mask.query_length, mask.key_length, dtype=torch.bool)
    for queries, keys, part in mask.blocks(size):
        assert 0 <= keys.start < keys.stop <= mask.key_length
        assert (part.query_length, part.key_length) == (queries.stop - queries.start, keys.stop - keys.start)
        seen = part.materialize("cpu")
        whole[:, :, queries, keys] = torch.tensor(True) if seen is None else seen
    expected = mask.materialize("cpu")
    assert torch.equal(whole, torch.ones_like(whole) if expected is None else expected.expand_as(whole))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_served_in_runs_it_is_the_same(data, draw_mask, tensors):
    mask = draw_mask(data.draw, batch=2, heads=4)
    query, key, value = tensors(mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdpa, "_LARGE", 0)
        patch.setattr(sdpa, "_run", lambda mask: 2)
        found, _ = sdpa_attention(query, key, value, mask=mask)
    torch.testing.assert_close(found, eager_attention(query, key, value, mask=mask)[0])


@pytest.mark.parametrize(
    "mask",
    [
        MaskSpec.causal(700, 2000),
        MaskSpec.causal(1500, sliding_window=100),
        MaskSpec.bidirectional(1500, sliding_window=100),
        MaskSpec.causal(1500, chunk=200),
        MaskSpec.causal(1500, keep=torch.arange(1500).expand(2, -1) > 3),
    ],
    ids=lambda mask: "+".join(sorted(mask.features)),
)
def test_the_masks_of_long_requests_stay_small(mask, monkeypatch):
    entries = []
    added = sdpa._added

    def watched(part, query):
        found = added(part, query)
        entries.append(0 if found[0] is None else found[0].untyped_storage().nbytes() // query.element_size())
        return found

    monkeypatch.setattr(sdpa, "_added", watched)  # runs that are whole chunks have none at all
    query, key = torch.randn(2, 2, mask.query_length, 8), torch.randn(2, 1, mask.key_length, 8)
    found, _ = sdpa_attention(query, key, key, mask=mask)
    torch.testing.assert_close(found, eager_attention(query, key, key, mask=mask)[0], atol=2e-5, rtol=2e-5)
    assert max(entries, default=0) < 0.75 * mask.rows * mask.query_length * mask.key_length


def test_runs_of_a_window_share_their_masks_and_layers_share_them_too():
    mask = MaskSpec.causal(4096, sliding_window=128)
    parts = [part for _, _, part in mask.blocks(128)]
    assert len({id(part) for part in parts}) == 2  # the first, and all others
    assert {id(part) for _, _, part in mask.blocks(128)} == {id(part) for part in parts}


def test_gradients_flow_through_runs(tensors, monkeypatch):
    monkeypatch.setattr(sdpa, "_LARGE", 0)
    monkeypatch.setattr(sdpa, "_run", lambda mask: 2)
    bias = torch.randn(1, 4, 5, 7, dtype=torch.float64, requires_grad=True)
    inputs = [t.requires_grad_() for t in tensors(MaskSpec.causal(5, 7), dtype=torch.float64, head_dim=4)]

    def attend(query, key, value, bias):
        return sdpa_attention(query, key, value, mask=MaskSpec.causal(5, 7, bias=bias, sliding_window=3))[0]

    assert torch.autograd.gradcheck(attend, (*inputs, bias), fast_mode=True)
