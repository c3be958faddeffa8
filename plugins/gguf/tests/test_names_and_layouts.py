"""Tensor names agree with gguf's own map, and rotary rows come apart as the converter put them together."""

from __future__ import annotations

from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transept_gguf.architectures import ARCHITECTURES
from transept_gguf.names import key_map

from transept.errors import CheckpointError

ARCH_IDS = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}


def config(model_type: str = "llama", heads: int = 4, kv_heads: int = 2) -> SimpleNamespace:
    return SimpleNamespace(model_type=model_type, num_attention_heads=heads, num_key_value_heads=kv_heads)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_are_those_of_the_gguf_package(name: str) -> None:
    row = ARCHITECTURES[name]
    theirs = gguf.get_tensor_name_map(ARCH_IDS[name], 12)
    known = {gguf.TENSOR_NAMES[tensor].replace("{bid}", "{}") for tensor in gguf.MODEL_TENSORS[ARCH_IDS[name]]}
    for stored, model_name in row.tensors.items():
        assert theirs.get_name(model_name.format(11)) == stored.format(11)
        assert stored in known
    assert {stored for stored in known if not stored.startswith(("rope_", "blk.{}.attn_rot"))} >= set(row.tensors)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_map_covers_the_peers_parameters(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    row = ARCHITECTURES[name]
    peer = transformers.AutoConfig.for_model(
        row.model_type,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=2,
        intermediate_size=48,
        vocab_size=16,
        attention_bias=True,
        tie_word_embeddings="output" not in row.tensors,
    )
    with torch.device("meta"):
        names = {name for name, _ in transformers.AutoModelForCausalLM.from_config(peer).named_parameters()}
    stored = {f"{key.format(layer)}.{suffix}" for key in row.tensors for layer in range(2) for suffix in ("weight", "bias")}
    plan = key_map(config(row.model_type)).plan(stored)
    assert names <= {target for conversion in plan for target in conversion.targets}


def test_rope_factors_are_not_a_weight() -> None:
    assert key_map(config()).plan(["rope_freqs.weight"]) == []


def test_an_unknown_model_type_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"`mamba`.*`llama`"):
        key_map(config("mamba"))


def permuted_by_the_converter(weights: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's conversion does to q_proj and k_proj of a llama."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (6, 1), (9, 3)])
@pytest.mark.parametrize("suffix", ["weight", "bias"])
def test_rotary_rows_come_back(heads: int, kv_heads: int, suffix: str) -> None:
    rng = np.random.default_rng(0)
    columns = (5,) if suffix == "weight" else ()
    query, key = rng.standard_normal((heads * 8, *columns)), rng.standard_normal((kv_heads * 8, *columns))
    stored = {
        f"blk.3.attn_q.{suffix}": torch.from_numpy(permuted_by_the_converter(query, heads)),
        f"blk.3.attn_k.{suffix}": torch.from_numpy(permuted_by_the_converter(key, kv_heads)),
        f"blk.3.attn_v.{suffix}": torch.from_numpy(key),
    }
    got = key_map(config(heads=heads, kv_heads=kv_heads)).convert(stored)
    assert np.array_equal(got[f"model.layers.3.self_attn.q_proj.{suffix}"].numpy(), query)
    assert np.array_equal(got[f"model.layers.3.self_attn.k_proj.{suffix}"].numpy(), key)
    assert np.array_equal(got[f"model.layers.3.self_attn.v_proj.{suffix}"].numpy(), key)


@given(kv_heads=st.integers(1, 4), group=st.integers(1, 3), half=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_the_map_runs_both_ways(kv_heads: int, group: int, half: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = {"attn_q": kv_heads * group * half * 2, "attn_k": kv_heads * half * 2, "ffn_up": 7}
    stored = {f"blk.0.{name}.weight": torch.randn(count, 3, generator=generator) for name, count in rows.items()}
    table = key_map(config(heads=kv_heads * group, kv_heads=kv_heads))
    back = table.reversed().convert(table.convert(stored))
    assert stored.keys() == back.keys()
    assert all(torch.equal(stored[name], back[name]) for name in stored)


def test_rows_of_packed_blocks_move_whole() -> None:
    # the permutation only moves rows, so it can be done before unpacking as well as after
    packed = torch.arange(32 * 34, dtype=torch.int64).remainder(251).to(torch.uint8).view(32, 34)
    table = key_map(config(heads=4, kv_heads=4))
    moved = table.convert({"blk.0.attn_q.weight": packed})["model.layers.0.self_attn.q_proj.weight"]
    assert sorted(map(bytes, moved.numpy())) == sorted(map(bytes, packed.numpy()))
