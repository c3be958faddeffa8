"""Masks become runs that flash's alignment serves; what has no such form is left to torch, and what is not here is refused."""

import importlib
import re

import pytest
import torch
from transept_flash import requirements
from transept_flash.kernel import flash_attention_2
from transept_flash.packing import Run, pack, runs_of
from transept_testing.kernel_masks import random_mask

from transept.attention import Attention, MaskSpec
from transept.errors import AttentionError

CPU = torch.device("cpu")
KINDS = ("causal", "bidirectional", "sliding_window", "keep", "documents")


def shown(runs, mask):
    """The pairs that runs see, as flash aligns them."""
    seen = torch.zeros(2, mask.query_length, mask.key_length, dtype=torch.bool)
    for run in runs:
        for place, query in enumerate(run.queries):
            own = place + len(run.keys) - len(run.queries)
            for at, key in enumerate(run.keys):
                if (run.left < 0 or at >= own - run.left) and (run.right < 0 or at <= own + run.right):
                    assert not seen[run.row, query, key], "two runs hold the same query"
                    seen[run.row, query, key] = True
    return seen


@pytest.mark.parametrize("seed", range(300))
def test_runs_see_what_the_mask_shows(seed):
    mask = random_mask(seed, KINDS)
    runs = runs_of(mask, 2)
    if runs is None:
        assert mask.keep is not None or mask.documents is not None
        return
    assert len({(run.row, query) for run in runs for query in run.queries}) == sum(len(run.queries) for run in runs)
    assert all(run.left >= -1 and run.right >= -1 and run.keys and run.queries for run in runs)
    expected = mask.materialize("cpu")
    expected = torch.ones(2, 1, mask.query_length, mask.key_length, dtype=torch.bool) if expected is None else expected
    assert torch.equal(shown(runs, mask), expected[:, 0].expand(2, -1, -1))


def test_a_left_padded_batch_and_a_pack_take_one_call():
    keep = torch.arange(6) >= torch.tensor([[2], [0], [5]])
    (packed,) = pack(MaskSpec.causal(6, keep=keep), 3, CPU)
    assert packed.query_ends.tolist() == packed.key_ends.tolist() == [0, 4, 10, 11]
    assert packed.queries.tolist() == [2, 3, 4, 5, *range(6, 12), 17]
    assert (packed.longest_query, packed.longest_key, packed.window) == (6, 6, (-1, 0))
    (packed,) = pack(MaskSpec.causal(1, 6, keep=keep), 3, CPU)
    assert packed.query_ends.tolist() == [0, 1, 2, 3]
    assert packed.key_ends.tolist() == [0, 4, 10, 11]
    documents = torch.tensor([[0, 0, 1, 1, 1, 2]])
    (packed,) = pack(MaskSpec.causal(6, documents=documents, sliding_window=2), 1, CPU)
    assert packed.query_ends.tolist() == [0, 2, 5, 6]
    assert packed.window == (1, 0)


def test_windows_count_as_the_mask_does():
    (run,) = runs_of(MaskSpec.causal(8, sliding_window=3), 1)
    assert run == Run(0, range(8), range(8), 2, 0)
    (run,) = runs_of(MaskSpec.bidirectional(8, sliding_window=3), 1)
    assert run == Run(0, range(8), range(8), 2, 2)
    (run,) = runs_of(MaskSpec.causal(1, 8, sliding_window=3), 1)
    assert run == Run(0, range(1), range(5, 8), 2, 0)


def test_holes_are_seen():
    assert runs_of(MaskSpec.causal(4, keep=torch.tensor([[True, False, True, True]])), 1) is None
    assert runs_of(MaskSpec.causal(4, documents=torch.tensor([[0, 1, 0, 0]])), 1) is None


def test_a_softcap_over_holes_is_refused(stand_in):
    query = torch.randn(1, 2, 4, 8, dtype=torch.float16)
    mask = MaskSpec.causal(4, keep=torch.tensor([[True, False, True, True]]))
    with pytest.raises(AttentionError, match=r"holes between kept keys.*flex_attention"):
        flash_attention_2(query, query, query, mask=mask, softcap=2.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_3"])
def test_without_a_gpu_it_is_refused_in_one_line(name):
    query = torch.randn(1, 2, 4, 8)
    with pytest.raises(AttentionError, match=f"`{name}` cannot run here: it takes a CUDA GPU, and torch sees none") as caught:
        Attention(name)(query, query, query, mask=MaskSpec.causal(4))
    assert "\n" not in str(caught.value)
    attention = Attention()
    attention(query, query, query, mask=MaskSpec.causal(4))
    assert "dtype float32" in attention.explain().others[name]


@pytest.mark.parametrize(
    ("capability", "module", "words"),
    [
        ((7, 5), None, "from Ampere .* on, and this one has 7.5"),
        ((8, 0), None, "`flash_attn` is not installed: `pip install flash-attn`"),
        ((8, 0), ImportError("undefined symbol: x\nmore"), "does not load: ImportError: undefined symbol: x$"),
        ((8, 0), object(), "has no `flash_attn_func`"),
    ],
    ids=["an older chip", "not installed", "does not load", "another package"],
)
def test_what_is_missing_is_named(capability, module, words, monkeypatch):
    def found(name):
        if isinstance(module, Exception):
            raise module
        if module is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return module

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(importlib, "import_module", found)
    reason = requirements.flash_attention_2()
    assert reason is not None
    assert re.search(words, reason)
