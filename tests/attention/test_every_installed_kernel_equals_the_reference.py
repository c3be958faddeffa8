"""Each kernel that is installed and can run here gives what the mask's materialisation says, whatever the mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transept_testing.kernel_masks import random_mask, reference

from transept.attention import Attention
from transept.discovery import load_object, registry


def able() -> list:
    """Records of the kernels that can run on a CPU."""
    found = []
    for record in registry.records("attention"):
        asked = None if record.requires is None else load_object(record.requires, owner="the tests")()
        if asked is None and (record.devices is None or "cpu" in record.devices):
            found.append(record)
    return found


KERNELS = able()


def test_the_ones_of_this_workspace_are_among_them() -> None:
    assert {"eager", "sdpa", "flex_attention", "paged"} <= {record.key for record in KERNELS}


@pytest.mark.parametrize("record", KERNELS, ids=lambda record: record.key)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**30),
    heads=st.sampled_from([(4, 4), (4, 2), (6, 2), (3, 1)]),
    head_dim=st.sampled_from([4, 8, 20]),
    scale=st.sampled_from([None, 0.3]),
    softcap=st.sampled_from([None, 1.5]),
    contiguous=st.booleans(),
)
def test_any_mask_heads_and_layout(record, seed, heads, head_dim, scale, softcap, contiguous) -> None:
    mask = random_mask(seed, record.masks, batch=2, heads=heads[0])
    generator = torch.Generator().manual_seed(seed)

    def one(count: int, length: int) -> torch.Tensor:
        drawn = torch.randn(2, length, count, head_dim, generator=generator).transpose(1, 2)
        return drawn.contiguous() if contiguous else drawn

    inputs = one(heads[0], mask.query_length), one(heads[1], mask.key_length), one(heads[1], mask.key_length)
    options = {"scale": scale, "softcap": softcap if record.softcap else None}
    with torch.no_grad():
        found, _ = Attention(record.key)(*inputs, mask=mask, **options)
    torch.testing.assert_close(found, reference(*inputs, mask, **options).float(), atol=2e-5, rtol=2e-5)
