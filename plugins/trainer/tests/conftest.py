"""Small models and data that the tests of training share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def tiny() -> Callable[..., Any]:
    """Makes a small llama: `tiny(hidden_size=…)`, the same weights each time."""

    def make(**config: Any) -> Any:
        from transept import LlamaConfig, LlamaForCausalLM

        settings = {
            "vocab_size": 64,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
            **config,
        }
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**settings))

    return make


@pytest.fixture
def rows() -> list[dict[str, list[int]]]:
    """Forty examples of twelve tokens with a pattern that can be learned."""
    found = []
    for row in range(40):
        ids = [2 + (row * 7 + place * 3) % 60 for place in range(12)]
        found.append({"input_ids": ids, "labels": ids})
    return found


@pytest.fixture
def trainer_of(tmp_path: Path, tiny: Callable[..., Any], rows: list[Any]) -> Callable[..., Any]:
    """Makes a trainer over the small model and rows; keywords are training arguments, or the trainer's own."""

    def make(**given: Any) -> Any:
        from transept import Trainer, TrainingArguments

        own = {"model", "train_dataset", "eval_dataset", "data_collator", "callbacks", "optimizers", "processing_class"}
        own |= {"compute_metrics", "compute_loss_func", "model_init", "preprocess_logits_for_metrics", "cls"}
        options = {name: given.pop(name) for name in list(given) if name in own}
        cls = options.pop("cls", Trainer)
        if "model" not in options and "model_init" not in options:
            options["model"] = tiny()
        options.setdefault("train_dataset", rows)
        settings = {
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 4,
            "max_steps": 10,
            "save_strategy": "no",
            "logging_steps": 5,
            "use_cpu": True,
            **given,
        }
        return cls(args=TrainingArguments(**settings), **options)

    return make
