"""A mask is checked when it is made, is a pytree, and is built no more than once, and not at all where torch needs none."""

import copy
import dataclasses
import pickle

import pytest
import torch
from torch.utils import _pytree as pytree

from transept.attention import Attention, MaskSpec
from transept.errors import InputError


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "casual"}, "Did you mean `causal`"),
        ({"sliding_window": 0}, "`sliding_window` is 0"),
        ({"chunk": -1}, "`chunk` is -1"),
        ({"prefix_length": 2}, "`prefix_length`"),
        ({"kind": "prefix"}, "`prefix_length`"),
        ({"keep": torch.ones(2, 3, dtype=torch.bool)}, r"`keep` has shape \(2, 3\)"),
        ({"keep": torch.ones(2, 4)}, "`keep` is torch.float32"),
        ({"documents": torch.zeros(2, 4)}, "`documents` is torch.float32"),
        ({"documents": torch.zeros(2, 4, dtype=torch.long), "query_offset": 1}, "a key for each query"),
        ({"bias": torch.zeros(2, 1, 4, 3)}, r"`bias` has shape \(2, 1, 4, 3\)"),
        ({"bias": torch.zeros(2, 1, 4, 4, dtype=torch.long)}, "`bias` is torch.int64"),
        ({"keep": torch.ones(2, 4) > 0, "documents": torch.zeros(3, 4, dtype=torch.long)}, "for 2 and for 3 sequences"),
        (
            {"kind": "prefix", "prefix_length": torch.ones(3).long(), "bias": torch.zeros(2, 1, 4, 4)},
            "for 3 and for 2 sequences",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(fields, words):
    with pytest.raises(InputError, match=words):
        MaskSpec(**{"kind": "causal", "query_length": 4, "key_length": 4, **fields})


def test_features_are_the_kinds_of_kernel_records():
    assert MaskSpec.causal(4).features == {"causal"}
    assert MaskSpec.bidirectional(4, keep=torch.ones(1, 4, dtype=torch.bool)).features == {"bidirectional", "keep"}
    many = MaskSpec(
        "prefix",
        4,
        4,
        sliding_window=9,
        chunk=9,
        documents=torch.zeros(1, 4, dtype=torch.long),
        prefix_length=1,
        bias=torch.zeros(4, 4),
    )
    assert many.features == {"prefix", "sliding_window", "chunk", "documents", "bias"}


def test_leaves_are_the_tensors():
    keep, bias = torch.tensor([[True, False, True]]), torch.zeros(1, 1, 3, 3)
    mask = MaskSpec("prefix", 3, 3, keep=keep, bias=bias, prefix_length=torch.tensor([1]), sliding_window=2)
    before = mask.materialize("cpu")
    mask.hidden(torch.device("cpu"))
    leaves, spec = pytree.tree_flatten(mask)
    assert [leaf.shape for leaf in leaves] == [(1, 3), (1,), (1, 1, 3, 3)]
    again = pytree.tree_unflatten(leaves, spec)
    assert torch.equal(again.materialize("cpu"), before)
    moved = pytree.tree_map(lambda leaf: leaf.to("meta"), mask)
    assert moved.keep.device.type == "meta"
    assert moved.sliding_window == 2
    assert pytree.tree_map(str, mask).keep.startswith("tensor")
    for twin in (copy.deepcopy(mask), pickle.loads(pickle.dumps(mask)), dataclasses.replace(mask)):
        assert torch.equal(twin.materialize("cpu"), before)


@pytest.mark.parametrize(
    "mask",
    [
        MaskSpec.causal(6),
        MaskSpec.causal(1, 6),
        MaskSpec.causal(6, sliding_window=6),
        MaskSpec.causal(1, 6, sliding_window=6),
        MaskSpec.causal(6, chunk=6),
        MaskSpec.bidirectional(6),
        MaskSpec.bidirectional(2, 6),
        MaskSpec.bidirectional(6, sliding_window=6),
    ],
    ids=str,
)
def test_nothing_is_built_where_torch_needs_no_mask(mask, tensors):
    Attention("sdpa")(*tensors(mask), mask=mask)
    assert not [value for value in mask._memo.values() if isinstance(value, torch.Tensor | tuple) and _tensors(value)]


def _tensors(value):
    return [part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, torch.Tensor)]


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_a_mask_is_built_once_for_all_layers(name, tensors, monkeypatch):
    built = []
    seen = MaskSpec._seen
    monkeypatch.setattr(MaskSpec, "_seen", lambda self, device: built.append(device) or seen(self, device))
    mask = MaskSpec.causal(3, 6, keep=torch.tensor([[False] + [True] * 5] * 2))
    for _ in range(4):
        Attention(name)(*tensors(mask), mask=mask)
    assert len(built) == 1


def test_a_learned_bias_is_not_kept_from_its_gradient(tensors):
    bias = torch.randn(1, 4, 3, 3, requires_grad=True)
    mask = MaskSpec.causal(3, bias=bias)
    query, key, value = tensors(mask)
    for _ in range(2):
        Attention("sdpa")(query, key, value, mask=mask)[0].sum().backward()


def test_tokens_on_the_meta_device_need_no_values():
    mask = MaskSpec.causal(3, keep=torch.ones(2, 3, dtype=torch.bool, device="meta"))
    query = torch.empty(2, 4, 3, 8, device="meta")
    for name in ("eager", "sdpa"):
        assert Attention(name)(query, query, query, mask=mask)[0].shape == query.shape
