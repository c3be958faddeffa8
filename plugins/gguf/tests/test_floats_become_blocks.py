"""Floats become the blocks that ggml's reference makes of them, bit for bit, in any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transept_gguf import GgufConfig
from transept_gguf.blocks import kind_of
from transept_gguf.packed import GGUFEmbedding, GGUFLinear
from transept_gguf.packing import PACKED_FROM_FLOATS, pack

from transept.errors import QuantizationError, TranseptError
from transept.quantization import quantization_from

pytest.importorskip("transept_llama")

from transept_llama.configuration import LlamaConfig
from transept_llama.modeling import LlamaForCausalLM

IDS = torch.tensor([[1, 5, 9, 11, 39, 2, 2, 7]])
SMALL = {
    "vocab_size": 40,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def reference(values: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        made: np.ndarray = gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
    return made


def hard_values(scale: float) -> np.ndarray:
    """Rows of ordinary weights, and rows of ties: zeros, one value, both signs of the largest, halves between two steps."""
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((65, 320)) * scale).astype(np.float32)
    values[1] = 0
    values[2, :32] = 1.5 * scale
    values[3, 0], values[3, 7] = -4 * scale, 4 * scale
    values[4, 0], values[4, 7] = 4 * scale, -4 * scale
    values[5] = np.round(values[5] / scale * 4) / 4 * scale
    values[6], values[7] = -np.abs(values[6]), np.abs(values[7])
    values[8] = np.arange(320) % 32 * scale - 127 * scale / 2
    values[9, ::32] = 127 * scale
    values[9, 1::2] = np.round(values[9, 1::2] / scale) * scale + 0.5 * scale
    return values


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-2, 1.0, 1000.0])
@pytest.mark.parametrize("name", PACKED_FROM_FLOATS)
def test_bytes_are_the_references(name: str, scale: float) -> None:
    values = hard_values(scale)
    assert np.array_equal(pack(torch.from_numpy(values), kind_of(name)).numpy(), reference(values, name))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-20, 10), name=st.sampled_from(PACKED_FROM_FLOATS))
def test_bytes_are_the_references_for_any_values(seed: int, exponent: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((3, 96)) * rng.choice([0, 1, 1, 30], (3, 96)) * 2.0**exponent).astype(np.float32)
    assert np.array_equal(pack(torch.from_numpy(values), kind_of(name)).numpy(), reference(values, name))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_packed_as_the_floats_that_they_are(dtype: torch.dtype) -> None:
    values = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(pack(values, kind_of("Q4_1")), pack(values.float(), kind_of("Q4_1")))


def test_a_weight_is_packed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(7, 96, generator=torch.Generator().manual_seed(0))
    whole = pack(values, kind_of("Q5_0"))
    monkeypatch.setattr("transept_gguf.packing._CHUNK", 64)
    assert torch.equal(pack(values, kind_of("Q5_0")), whole)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("name", PACKED_FROM_FLOATS)
def test_values_without_a_scale_are_refused(name: str, bad: float) -> None:
    values = torch.ones(2, 64)
    values[1, 40] = bad
    with pytest.raises(QuantizationError, match="not finite, or too large"):
        pack(values, kind_of(name))


# -- models ------------------------------------------------------------------------------------------------------------


def model_of(**changes: Any) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**SMALL, **changes})).eval()


def packed(model: Any) -> dict[str, str]:
    return {path: one.packing for path, one in model.named_modules() if isinstance(one, GGUFLinear | GGUFEmbedding)}


@pytest.mark.parametrize("name", [one.lower() for one in PACKED_FROM_FLOATS])
def test_a_name_packs_every_linear_layer_the_embedding_and_the_head(name: str, tmp_path: Path) -> None:
    model = model_of()
    expected = {path: one.weight.detach().clone() for path, one in model.named_modules() if hasattr(one, "weight")}
    model.save_pretrained(tmp_path)
    model.quantize(name)
    assert len(packed(model)) == 2 * 7 + 2
    assert set(packed(model).values()) == {name.upper()}
    for path, one in model.named_modules():
        if isinstance(one, GGUFLinear | GGUFEmbedding):
            assert np.array_equal(one.weight.numpy(), reference(expected[path].numpy(), name.upper())), path
    loaded = LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=name, automatic_rewrites=False)
    state = loaded.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in model.state_dict().items())


def test_tied_modules_are_packed_together_or_not_at_all() -> None:
    both = model_of(tie_word_embeddings=True).quantize("q8_0")
    assert both.lm_head.weight is both.model.embed_tokens.weight
    assert {"lm_head", "model.embed_tokens"} <= packed(both).keys()
    neither = model_of(tie_word_embeddings=True).quantize(GgufConfig(type="Q8_0", modules_to_not_convert=["lm_head"]))
    assert {"lm_head", "model.embed_tokens"}.isdisjoint(packed(neither))
    assert neither.lm_head.weight is neither.model.embed_tokens.weight
    own = model_of().quantize(GgufConfig(type="Q8_0", modules_to_not_convert=["lm_head"]))
    assert "model.embed_tokens" in packed(own)
    assert "lm_head" not in packed(own)


def test_patterns_choose_types(tmp_path: Path) -> None:
    config = GgufConfig(type="Q4_0", types={"*.mlp.down_proj": "Q8_0", "model.layers.1.mlp.down_proj": "Q5_1", "lm_head": None})
    model = model_of().quantize(config)
    found = packed(model)
    assert found["model.layers.0.mlp.down_proj"] == "Q8_0"
    assert found["model.layers.1.mlp.down_proj"] == "Q5_1"
    assert found["model.layers.1.mlp.up_proj"] == "Q4_0"
    assert "lm_head" not in found
    model.save_pretrained(tmp_path)
    again = LlamaForCausalLM.from_pretrained(tmp_path, automatic_rewrites=False)
    assert packed(again) == found


def test_another_quantizer_may_take_the_rest(tmp_path: Path) -> None:
    table = {"model.layers.0.*": "q4_1", "*.mlp.down_proj": "q5_0", "lm_head": None, "default": "q8_0"}
    model = model_of().quantize(table)
    found = packed(model)
    assert found["model.layers.0.mlp.down_proj"] == "Q4_1", "the first pattern that fits"
    assert found["model.layers.1.mlp.down_proj"] == "Q5_0"
    assert found["model.layers.1.self_attn.q_proj"] == "Q8_0"
    assert "lm_head" not in found
    model.save_pretrained(tmp_path)
    assert packed(LlamaForCausalLM.from_pretrained(tmp_path, automatic_rewrites=False)) == found


def test_the_models_dtype_is_kept(tmp_path: Path) -> None:
    model_of().save_pretrained(tmp_path)
    model = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16, quantization_config="q8_0")
    assert model(IDS).logits.dtype == torch.bfloat16
    assert model.get_input_embeddings()(IDS).dtype == torch.bfloat16
    model.save_pretrained(tmp_path / "saved")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model(IDS).logits)
    assert model.dequantize().lm_head.weight.dtype == torch.bfloat16


def test_settings_say_what_is_wrong() -> None:
    with pytest.raises(QuantizationError, match=r"Q4_7.*Did you mean `Q4_0`|Q4_7.*Types"):
        GgufConfig(type="Q4_7")
    with pytest.raises(QuantizationError, match="names no type"):
        model_of().quantize(GgufConfig())
    with pytest.raises(QuantizationError, match=r"Q4_K.*choose one of Q4_0"):
        model_of(hidden_size=256, intermediate_size=256).quantize(GgufConfig(type="q4_k"))
    with pytest.raises(QuantizationError, match=r"`model.layers.0.mlp.down_proj`.*100.*Q4_0.*32"):
        model_of(intermediate_size=100).quantize("q4_0")
    with pytest.raises(TranseptError, match="selects no module"):
        model_of().quantize(GgufConfig(types={"model.layers.7.mlp": "Q4_0"}))
    assert quantization_from({"quant_method": "gguf", "type": "q8_0"}).type == "Q8_0"


def test_a_failed_quantization_leaves_the_floats() -> None:
    model = model_of(intermediate_size=100)
    with torch.no_grad():
        before = model(IDS).logits
        with pytest.raises(QuantizationError):
            model.quantize("q4_0")
        assert not packed(model)
        assert model.config.quantization_config is None
        assert torch.equal(model(IDS).logits, before)
