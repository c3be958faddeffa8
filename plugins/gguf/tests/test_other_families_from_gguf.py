"""Qwen2, Qwen3 and Gemma 2 from GGUF: the logits of the model that was written, and of the peer's own reading of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

from transept.auto import AutoConfig, AutoModelForCausalLM  # noqa: E402
from transept.errors import ConfigError  # noqa: E402

IDS = torch.tensor([[1, 5, 9, 11, 40, 2, 2, 7]])
SMALL = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16},
    "gemma2": {
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 4,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 1.5,
    },
}
CLASS = {"qwen2": "Qwen2", "qwen3": "Qwen3", "gemma2": "Gemma2"}


def peer(family: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{CLASS[family]}Config")(**{**SMALL, **FAMILIES[family], **changes})
    model = getattr(transformers, f"{CLASS[family]}ForCausalLM")._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def write(model: Any, path: Path, family: str, left_out: tuple[str, ...] = ()) -> Path:
    config = model.config
    writer = gguf.GGUFWriter(path, family)
    head_dim = getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    numbers: dict[str, tuple[Any, Any]] = {
        "block_count": (writer.add_block_count, config.num_hidden_layers),
        "context_length": (writer.add_context_length, config.max_position_embeddings),
        "embedding_length": (writer.add_embedding_length, config.hidden_size),
        "feed_forward_length": (writer.add_feed_forward_length, config.intermediate_size),
        "head_count": (writer.add_head_count, config.num_attention_heads),
        "head_count_kv": (writer.add_head_count_kv, config.num_key_value_heads),
        "key_length": (writer.add_key_length, head_dim),
        "value_length": (writer.add_value_length, head_dim),
        "epsilon": (writer.add_layer_norm_rms_eps, config.rms_norm_eps),
        "freq_base": (writer.add_rope_freq_base, 10000.0),
        "vocab_size": (writer.add_vocab_size, config.vocab_size),
    }
    if family == "gemma2":
        numbers |= {
            "attn_cap": (writer.add_attn_logit_softcapping, config.attn_logit_softcapping),
            "final_cap": (writer.add_final_logit_softcapping, config.final_logit_softcapping),
            "window": (writer.add_sliding_window, config.sliding_window),
        }
    for name, (add, value) in numbers.items():
        if name not in left_out:
            add(value)
    architecture = next(one for one, name in gguf.MODEL_ARCH_NAMES.items() if name == family)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, _, kind = name.rpartition(".")
        value = tensor.numpy().astype(np.float32)
        if family == "gemma2" and value.ndim == 1:
            value = value + 1  # llama.cpp's norms multiply by what is stored
        writer.add_tensor(f"{names.get_name(stem)}.{kind}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_gives_the_logits_of_the_model_that_was_written(family: str, tmp_path: Path) -> None:
    pytest.importorskip(f"transept_{family}")
    source = peer(family)
    model = AutoModelForCausalLM.from_pretrained(write(source, tmp_path / "tiny.gguf", family))
    assert type(model).__name__ == f"{CLASS[family]}ForCausalLM"
    expected = source(IDS).logits
    assert (model(IDS).logits - expected).abs().max() <= 1e-4 * expected.abs().max()
    model.save_pretrained(tmp_path / "saved")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved", attn_implementation="eager")
    assert (again(IDS).logits - expected).abs().max() <= 1e-4 * expected.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_is_read_as_the_peer_reads_it(family: str, tmp_path: Path) -> None:
    pytest.importorskip(f"transept_{family}")
    # what the peer does not read: Qwen3's head_dim, Gemma 2's caps and the scale of its scores; these are its defaults
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    plain = {"gemma2": {**caps, "head_dim": 256, "query_pre_attn_scalar": 256}, "qwen3": {"head_dim": 128}}
    write(peer(family, **plain.get(family, {})), tmp_path / "tiny.gguf", family)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny.gguf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="tiny.gguf", attn_implementation="eager", dtype=torch.float32
    )
    expected = theirs(IDS).logits
    assert (ours(IDS).logits - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_gemma2_without_its_own_numbers_has_llama_cpps(tmp_path: Path) -> None:
    pytest.importorskip("transept_gemma2")
    write(peer("gemma2"), tmp_path / "tiny.gguf", "gemma2", left_out=("attn_cap", "final_cap", "window"))
    config = AutoConfig.from_pretrained(tmp_path / "tiny.gguf")
    assert (config.attn_logit_softcapping, config.final_logit_softcapping, config.sliding_window) == (50.0, 30.0, 4096)
    assert config.query_pre_attn_scalar == 16
    write(peer("gemma2", num_hidden_layers=46, hidden_size=24), tmp_path / "large.gguf", "gemma2")
    assert AutoConfig.from_pretrained(tmp_path / "large.gguf").query_pre_attn_scalar == 6, "the largest: hidden_size / heads"


def test_a_cap_that_the_configuration_cannot_say_is_refused(tmp_path: Path) -> None:
    spoiled = gguf.GGUFWriter(tmp_path / "qwen3.gguf", "qwen3")
    spoiled.add_attn_logit_softcapping(2.0)
    spoiled.write_header_to_file()
    spoiled.write_kv_data_to_file()
    spoiled.write_tensors_to_file()
    spoiled.close()
    with pytest.raises(ConfigError, match="attn_logit_softcapping"):
        AutoConfig.from_pretrained(tmp_path / "qwen3.gguf")
