"""A file's blocks stay as they are in memory, and the model computes what it computes on the floats that they stand for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from torch import nn
from transept_gguf.blocks import packed_types
from transept_gguf.packed import GGUFEmbedding, GGUFLinear

pytest.importorskip("transept_llama")

from transept.auto import AutoConfig, AutoModel, AutoModelForCausalLM
from transept.errors import QuantizationError, TranseptError

Kind = gguf.GGMLQuantizationType
Write = Callable[..., Path]
IDS = torch.tensor([[1, 5, 9, 11, 39, 2, 2, 7]])
KINDS = packed_types()


def load(path: Path, **options: Any) -> Any:
    """Without the native products that may be installed beside: they round activations."""
    return AutoModelForCausalLM.from_pretrained(path, automatic_rewrites=False, **options)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", KINDS)
def test_every_type_of_blocks_computes_what_its_floats_compute(name: str, write_wide: Write, tmp_path: Path) -> None:
    path = write_wide(tmp_path / "wide.gguf", Kind[name])
    packed = load(path)
    floats = load(path, dtype=torch.float32)
    assert {type(module) for module in floats.modules()}.isdisjoint({GGUFLinear, GGUFEmbedding})
    modules = [module for module in packed.modules() if isinstance(module, GGUFLinear | GGUFEmbedding)]
    assert len(modules) == 2 * 7 + 2, "every linear layer, the embedding and the head"
    assert {module.packing for module in modules} == {name}
    assert not any(isinstance(module, nn.Linear | nn.Embedding) for module in packed.modules())
    assert_close(logits(packed), logits(floats))
    embedded = packed.get_input_embeddings()(IDS)
    assert embedded.dtype == torch.float32
    assert torch.equal(embedded, floats.get_input_embeddings()(IDS)), "rows are gathered and unpacked, nothing else"
    for path_, module in packed.named_modules():
        if isinstance(module, GGUFLinear | GGUFEmbedding):
            assert torch.equal(module.dequantize(), floats.get_submodule(path_).weight), path_


@pytest.mark.parametrize("name", KINDS)
def test_gradients_by_the_input_are_those_on_the_floats(name: str, write_wide: Write, tmp_path: Path) -> None:
    model = load(write_wide(tmp_path / "wide.gguf", Kind[name]))
    layer = model.model.layers[0].mlp.down_proj
    given = torch.randn(3, 512, generator=torch.Generator().manual_seed(0), requires_grad=True)
    other = given.detach().clone().requires_grad_()
    layer(given).square().sum().backward()
    nn.functional.linear(other, layer.dequantize()).square().sum().backward()
    assert given.grad is not None
    assert other.grad is not None
    assert_close(given.grad, other.grad)
    assert layer.weight.grad is None


def test_types_may_differ_within_a_file(write_wide: Write, tmp_path: Path) -> None:
    """As llama.cpp's mixes have it: a better type for the head and for some layers' `ffn_down`."""
    special = {"output": Kind.Q6_K, "blk.1.ffn_down": Kind.Q6_K, "blk.0.attn_v": Kind.Q8_0, "blk.1.attn_v": Kind.F32}
    path = write_wide(tmp_path / "mix.gguf", Kind.Q4_K, special)
    model = load(path)
    assert model.lm_head.packing == "Q6_K"
    assert [layer.mlp.down_proj.packing for layer in model.model.layers] == ["Q4_K", "Q6_K"]
    assert model.model.layers[0].self_attn.v_proj.packing == "Q8_0"
    assert type(model.model.layers[1].self_attn.v_proj) is nn.Linear, "floats stay floats"
    assert_close(logits(model), logits(load(path, dtype="float32")))
    table = model.config.quantization_config.types
    exact = {"model.layers.0.self_attn.v_proj": "Q8_0", "model.layers.1.self_attn.v_proj": None, "lm_head": "Q6_K"}
    assert exact.items() <= table.items() or table["model.layers.*.self_attn.v_proj"] == "Q8_0"
    assert table["model.layers.1.mlp.down_proj"] == "Q6_K"
    assert table["model.layers.*.mlp.down_proj"] == "Q4_K"
    assert len(table) <= 11, "patterns, not a line for each module"


def test_a_tied_head_shares_the_embeddings_blocks(write_wide: Write, tmp_path: Path) -> None:
    path = write_wide(tmp_path / "tied.gguf", Kind.Q5_K, tied=True)
    model = load(path)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert isinstance(model.lm_head, GGUFLinear)
    assert sum(parameter.nbytes for parameter in model.parameters()) <= 1.15 * path.stat().st_size
    assert_close(logits(model), logits(load(path, dtype="float32")))


def test_blocks_are_the_mapped_file_where_no_row_moves(write_wide: Write, tmp_path: Path) -> None:
    path = write_wide(tmp_path / "wide.gguf", Kind.Q4_K)
    model = load(path)
    moved = {name for name in model.load_report.converted if name.endswith("proj.weight")}
    assert moved == {f"model.layers.{layer}.self_attn.{one}_proj.weight" for layer in range(2) for one in "qk"}
    file = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    assert model.model.layers[1].mlp.up_proj.weight.numpy().tobytes() == file["blk.1.ffn_up.weight"].tobytes()
    query = model.model.layers[1].self_attn.q_proj.weight
    assert sorted(map(bytes, query.numpy())) == sorted(map(bytes, file["blk.1.attn_q.weight"]))
    before = path.read_bytes()
    model.lm_head.weight.zero_()
    assert path.read_bytes() == before, "the map is private"


@pytest.mark.parametrize("dtype", [None, "auto"])
def test_blocks_stay_unless_a_dtype_is_asked_for(dtype: str | None, write_wide: Write, tmp_path: Path) -> None:
    path = write_wide(tmp_path / "wide.gguf", Kind.Q8_0)
    assert load(path, dtype=dtype).is_quantized
    floats = load(path, dtype=torch.bfloat16)
    assert not floats.is_quantized
    assert {parameter.dtype for parameter in floats.parameters()} == {torch.bfloat16}


def test_a_quantization_config_packs_anew(write_wide: Write, tmp_path: Path) -> None:
    path = write_wide(tmp_path / "wide.gguf", Kind.Q6_K)
    model = load(path, quantization_config="q4_0")
    assert {module.packing for module in model.modules() if isinstance(module, GGUFLinear)} == {"Q4_0"}


def test_what_is_looked_up_follows_the_models_dtype(write_wide: Write, tmp_path: Path) -> None:
    model = load(write_wide(tmp_path / "wide.gguf", Kind.Q4_1))
    blocks = model.lm_head.weight
    model.to(torch.bfloat16)
    assert model.get_input_embeddings()(IDS).dtype == torch.bfloat16
    assert model(IDS).logits.dtype == torch.bfloat16
    assert model.lm_head.weight.dtype == torch.uint8
    assert torch.equal(model.lm_head.weight, blocks)
    model.float()
    assert model(IDS).logits.dtype == torch.float32


def test_a_base_model_stays_packed_too(write_wide: Write, tmp_path: Path) -> None:
    path = write_wide(tmp_path / "wide.gguf", Kind.Q4_K)
    with pytest.warns(UserWarning, match="lm_head"):
        base = AutoModel.from_pretrained(path, automatic_rewrites=False)
    assert base.embed_tokens.packing == "Q4_K"
    with torch.no_grad():
        expected = load(path).model(IDS).last_hidden_state
        assert torch.equal(base(IDS).last_hidden_state, expected)


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma2"])
def test_every_architecture_with_a_name_map(family: str, tmp_path: Path) -> None:
    """Packed, written, and loaded from the file: the same blocks, and bit for bit the same logits."""
    pytest.importorskip(f"transept_{family}")
    from transept_gguf import write_gguf

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family,
        vocab_size=40,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        pad_token_id=0,
        tie_word_embeddings=family in ("qwen2", "gemma2"),
        **({"head_dim": 16} if family in ("qwen3", "gemma2") else {}),
        **({"query_pre_attn_scalar": 16} if family == "gemma2" else {}),
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.add_(0.2 * torch.randn_like(parameter))
    expected = logits(model.quantize("q8_0"))
    write_gguf(model, tmp_path / "model.gguf")
    again = load(tmp_path / "model.gguf")
    assert type(again) is type(model)
    assert isinstance(again.get_input_embeddings(), GGUFEmbedding)
    assert again.lm_head.weight is again.get_input_embeddings().weight or not config.tie_word_embeddings
    for (name, here), (_, there) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert here.dtype == there.dtype, name
        # gains of Gemma are stored with 1 added, which rounds
        assert torch.equal(here, there) or (family == "gemma2" and torch.allclose(here, there, atol=1e-7)), name
    assert_close(logits(again), expected)


def test_blocks_cannot_be_resized(write_wide: Write, tmp_path: Path) -> None:
    model = load(write_wide(tmp_path / "wide.gguf", Kind.Q4_K))
    with pytest.raises(TranseptError, match="GGUFEmbedding"):
        model.resize_token_embeddings(50)
    with pytest.raises(QuantizationError, match="quantized already"):
        model.quantize("q8_0")


@pytest.mark.slow
def test_smollm2_stays_packed(smollm2: Path) -> None:
    model = load(smollm2)
    assert model.get_memory_footprint() <= 1.15 * smollm2.stat().st_size
    assert_close(logits(model), logits(load(smollm2, dtype="float32")))


_LOAD = """
import resource, sys, torch
from transept import AutoModelForCausalLM
from transept_gguf import export, packed, quantization  # what a load imports
import transept_llama.modeling
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], automatic_rewrites=False)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are in kilobytes on Linux alone")
def test_a_load_takes_no_more_than_the_file_and_two_tensors(smollm2: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _LOAD, str(smollm2)], check=True, capture_output=True, text=True)
    embedding, projection = 49152 * 576 // 32 * 34, 1536 * 576 // 32 * 20
    assert int(done.stdout) <= smollm2.stat().st_size + embedding + projection
