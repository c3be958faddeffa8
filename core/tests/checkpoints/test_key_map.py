"""A key map is one table that runs in both directions."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transept.checkpoints import Concat, Drop, KeyMap, Permute, Rename, Split, Stack, Transpose
from transept.checkpoints.key_map import NamePattern
from transept.errors import CheckpointError, MissingTensorsError


def halves_from_pairs(heads: int):
    """Rotary dims of each head from interleaved pairs to two halves, as llama checkpoints differ."""

    def forward(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.view(heads, -1, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    def backward(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.view(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    return forward, backward


LLAMA = KeyMap(
    [
        Rename("token_embd.weight", "model.embed_tokens.weight"),
        Rename("output.weight", "lm_head.weight"),
        Permute("blk.{}.attn_q.weight", "model.layers.{}.self_attn.q_proj.weight", *halves_from_pairs(4)),
        Permute("blk.{}.attn_k.weight", "model.layers.{}.self_attn.k_proj.weight", *halves_from_pairs(2)),
        Rename("blk.{}.attn_v.{}", "model.layers.{}.self_attn.v_proj.{}"),
        Split("blk.{}.ffn.weight", ("model.layers.{}.mlp.gate_proj.weight", "model.layers.{}.mlp.up_proj.weight"), 0, (3, 5)),
        Stack(tuple(f"blk.{{}}.expert.{e}.weight" for e in range(3)), "model.layers.{}.experts.weight"),
        Transpose("blk.{}.conv.weight", "model.layers.{}.conv.weight"),
        Concat(("blk.{}.wa", "blk.{}.wb"), "model.layers.{}.w", dim=1),
    ]
)


def checkpoint(layers: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(layers)
    made = {"token_embd.weight": torch.randn(5, 8), "output.weight": torch.randn(5, 8)}
    for i in range(layers):
        b = f"blk.{i}."
        made |= {
            b + "attn_q.weight": torch.randn(16, 8),
            b + "attn_k.weight": torch.randn(8, 8),
            b + "attn_v.bias": torch.randn(8),
        }
        made |= {b + "ffn.weight": torch.randn(8, 2), b + "conv.weight": torch.randn(2, 3)}
        made |= {b + f"expert.{e}.weight": torch.randn(2, 2) for e in range(3)}
        made |= {b + "wa": torch.randn(2, 4), b + "wb": torch.randn(2, 4), b + "other": torch.randn(1)}
    return made


@pytest.mark.parametrize("layers", [0, 1, 12])
def test_there_and_back_is_the_same_bits(layers):
    original = checkpoint(layers)
    there = LLAMA.convert(original)
    back = LLAMA.reversed().convert(there)
    assert set(back) == set(original)
    assert all(torch.equal(back[name], tensor) for name, tensor in original.items())


def test_names_and_layouts_are_the_targets():
    made = LLAMA.convert(checkpoint(2))
    assert made["model.layers.1.mlp.up_proj.weight"].shape == (5, 2)
    assert made["model.layers.0.experts.weight"].shape == (3, 2, 2)
    assert made["model.layers.0.conv.weight"].shape == (3, 2)
    assert "blk.1.other" in made


def test_a_rename_alone_passes_the_very_tensor():
    tensor = torch.randn(2)
    plan = KeyMap([Rename("a.*", "b.*")]).plan(["a.x.y", "c"])
    assert [(c.sources, c.targets, c.changes) for c in plan] == [
        (("a.x.y",), ("b.x.y",), False),
        (("c",), ("c",), False),
    ] or len(plan) == 2
    assert plan[0].convert([tensor])[0] is tensor
    assert all(not conversion.changes for conversion in plan)


def test_operations_chain_and_a_conversion_carries_them_all_out():
    table = KeyMap(
        [Transpose("c_attn.weight"), Split("c_attn.weight", ("q", "k", "v")), Rename("k", "key"), Concat(("q", "v"), "qv")]
    )
    weight = torch.arange(24.0).view(2, 12)
    (conversion,) = table.plan(["c_attn.weight"])
    made = dict(zip(conversion.targets, conversion.convert([weight]), strict=True))
    assert torch.equal(made["key"], weight.t()[4:8])
    assert torch.equal(made["qv"], torch.cat([weight.t()[:4], weight.t()[8:]]))
    assert torch.equal(table.reversed().convert(made)["c_attn.weight"], weight)


def test_what_is_dropped_is_gone_and_does_not_come_back():
    table = KeyMap([Drop("*.inv_freq"), Rename("a.w", "b.w")])
    assert set(table.convert({"x.y.inv_freq": torch.ones(1), "a.w": torch.ones(1)})) == {"b.w"}
    assert set(table.reversed().convert({"b.w": torch.ones(1)})) == {"a.w"}


def test_an_incomplete_group_names_what_is_missing():
    with pytest.raises(MissingTensorsError, match=r"blk\.3\.wb"):
        LLAMA.plan(["blk.3.wa"])


def test_two_names_that_become_one_are_refused():
    with pytest.raises(CheckpointError, match="Two tensors"):
        KeyMap([Rename("a", "b")]).plan(["a", "b"])


@pytest.mark.parametrize("sources", [("a.{}", "b"), ("a.{}.*", "b.*.{}")])
def test_patterns_of_one_operation_have_the_same_holes(sources):
    with pytest.raises(ValueError, match="holes"):
        KeyMap([Rename(*sources)])


@pytest.mark.parametrize("text", ["a.*.*", "layer{}.x", "*x"])
def test_a_malformed_pattern_is_refused(text):
    with pytest.raises(ValueError, match="hole"):
        NamePattern(text)


def test_an_unequal_split_without_sizes_is_refused():
    (conversion,) = KeyMap([Split("a", ("b", "c"))]).plan(["a"])
    with pytest.raises(ValueError, match="does not split"):
        conversion.convert([torch.ones(3)])


SEGMENT = st.text("ab1{}*", min_size=1, max_size=3)


@given(
    name=st.lists(SEGMENT, min_size=1, max_size=6),
    pattern=st.lists(st.sampled_from(["a", "b", "{}", "*", "1"]), min_size=1, max_size=6),
)
@settings(max_examples=300, deadline=None)
def test_a_match_fills_back_to_the_name(name, pattern):
    if pattern.count("*") > 1:
        return
    made = NamePattern(".".join(pattern))
    found = made.match(name)
    if found is not None:
        assert made.fill(found) == ".".join(name)


@given(
    widths=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    dim=st.integers(0, 1),
    swap=st.booleans(),
    layers=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_any_table_of_these_operations_is_reversible(widths, dim, swap, layers):
    parts = tuple(f"out.{{}}.p{i}" for i in range(len(widths)))
    steps = [Split("in.{}.w", parts, dim, tuple(widths)), Rename("out.*", "model.*")]
    if swap:
        steps.insert(0, Transpose("in.{}.w"))
    table = KeyMap(steps)
    size = [sum(widths), 3] if dim == 0 else [3, sum(widths)]
    tensors = {f"in.{i}.w": torch.randn(size[::-1] if swap else size) for i in range(layers)}
    there = table.convert(tensors)
    assert len(there) == layers * len(widths)
    back = table.reversed().convert(there)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_a_long_hostile_name_takes_no_time():
    start = time.perf_counter()
    KeyMap([Rename("*.a.b", "*.c"), Drop("x.*.y")]).plan(["." * 200_000, "a." * 100_000, "x" * 1_000_000])
    assert time.perf_counter() - start < 1
