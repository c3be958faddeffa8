"""Tiny models of each family, made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import transept
from transept.discovery import load_object, registry

ENCODER = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
DECODER = {**ENCODER, "num_key_value_heads": 2, "initializer_range": 0.2}
HALVES = {f"{half}_{name}": size for half in ("encoder", "decoder") for name, size in (("layers", 2), ("attention_heads", 4))}
TINY: dict[str, dict[str, Any]] = {
    "albert": {**ENCODER, "embedding_size": 16},
    "bert": ENCODER,
    "roberta": ENCODER,
    "distilbert": {"vocab_size": 97, "dim": 32, "hidden_dim": 56, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 66},
    "vit": {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 16}
    | {"patch_size": 4},
    "llama": DECODER,
    "mistral": {**DECODER, "sliding_window": 6},
    "qwen2": DECODER,
    "qwen3": {**DECODER, "head_dim": 8},
    "gemma2": {**DECODER, "head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "gpt_neox": {**ENCODER, "initializer_range": 0.2},
    "gpt2": {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "pad_token_id": 0}
    | {"bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2},
    "bart": {"vocab_size": 97, "d_model": 32, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_position_embeddings": 64}
    | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2, "init_std": 0.2, **HALVES},
    "t5": {"vocab_size": 97, "d_model": 32, "d_kv": 8, "d_ff": 56, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
    | {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12},
    "whisper": {"vocab_size": 97, "d_model": 32, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "max_source_positions": 10}
    | {"num_mel_bins": 6, "max_target_positions": 40, "decoder_start_token_id": 3, "pad_token_id": 0, "bos_token_id": 1}
    | {"eos_token_id": 2, **HALVES},
}


def tiny_model(family: str, task: str, **changes: Any) -> Any:
    """A small random model of a family, in evaluation mode; the same each time."""
    record = registry.get("models", family)
    config = load_object(record.config, owner=family)(**{**TINY[family], **changes})
    torch.manual_seed(0)
    return load_object(record.tasks[task], owner=family)(config).eval()


@pytest.fixture(scope="session")
def tiny() -> Any:
    return tiny_model


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`exported(family, task, **options) -> (model, folder, report)`, made once a session for the same arguments."""
    made: dict[Any, tuple[Any, Path, Any]] = {}

    def export(family: str, task: str, **options: Any) -> tuple[Any, Path, Any]:
        key = (family, task, *sorted(options.items()))
        if key not in made:
            decoder = {"is_decoder": True} if (family, task) == ("roberta", "causal_lm") else {}
            model, folder = tiny_model(family, task, **decoder), tmp_path_factory.mktemp(f"{family}-{task}")
            made[key] = model, folder, transept.export_onnx(model, folder, **options)
        return made[key]

    return export


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
