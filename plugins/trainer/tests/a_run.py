"""A small training run in a process of its own, to be killed: prints a digest of everything that a resumed run must have in common.

`python a_run.py FOLDER KIND [--resume] [--slow SECONDS]`
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from transept import EarlyStoppingCallback, LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

STEPS = 24


class Stream(IterableDataset[Any]):
    """Rows that are drawn while they are read, from all three generators."""

    def __iter__(self) -> Any:
        for _ in range(44):
            first = random.randrange(60) + int(np.random.randint(0, 3)) + int(torch.randint(0, 2, ()))
            ids = [2 + (first + place * 3) % 60 for place in range(12)]
            yield {"input_ids": ids, "labels": ids}


def mapped() -> list[dict[str, Any]]:
    found = []
    for row in range(44):
        ids = [2 + (row * 7 + place * 3) % 60 for place in range(12)]
        found.append({"input_ids": ids, "labels": ids})
    return found


def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Draws from all three generators, as masking and augmentation do."""
    batch = {name: torch.tensor([row[name] for row in examples]) for name in examples[0]}
    hidden = torch.rand(batch["labels"].shape) < 0.2
    hidden[:, random.randrange(12)] = bool(np.random.rand() < 0.5)
    batch["labels"] = batch["labels"].masked_fill(hidden, -100)
    return batch


class Slowly(TrainerCallback):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        print(f"step {state.global_step}", flush=True)
        time.sleep(self.seconds)


def digest(trainer: Trainer) -> dict[str, Any]:
    """Hashes of the weights, the optimizer and the generators, and the log without times."""

    def of(parts: Any) -> str:
        total = hashlib.sha256()
        for part in parts:
            total.update(part if isinstance(part, bytes) else repr(part).encode())
        return total.hexdigest()

    inner = trainer.optimizer.optimizer
    states = [
        value.numpy().tobytes() if isinstance(value, torch.Tensor) else value
        for parameter in trainer.model.parameters()
        for _, value in sorted(inner.state[parameter].items())
    ]
    timed = ("runtime", "per_second", "total_flos", "train_loss")
    logged = [{k: v for k, v in entry.items() if not any(word in k for word in timed)} for entry in trainer.state.log_history]
    return {
        "weights": of(parameter.detach().numpy().tobytes() for parameter in trainer.model.parameters()),
        "optimizer": of([*states, [{k: v for k, v in group.items() if k != "params"} for group in inner.param_groups]]),
        "scheduler": of([trainer.lr_scheduler.state_dict()]),
        "generators": of([torch.get_rng_state().numpy().tobytes(), random.getstate(), np.random.get_state()[1].tobytes()]),
        "log": logged,
        "step": trainer.state.global_step,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("kind", choices=["map", "stream", "workers", "plain"])
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--slow", type=float, default=0.0)
    given = parser.parse_args()
    torch.manual_seed(1)
    size = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    config = LlamaConfig(vocab_size=64, max_position_embeddings=64, pad_token_id=0, attention_dropout=0.2, **size)
    more: dict[str, Any] = {"dataloader_num_workers": 2} if given.kind == "workers" else {}
    if given.kind == "plain":
        more = {"optim": "adafactor", "lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 1}}
    args = TrainingArguments(
        given.folder,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=STEPS,
        learning_rate=1e-2,
        warmup_steps=3,
        neftune_noise_alpha=5.0,
        logging_steps=4,
        eval_strategy="steps",
        eval_steps=5,
        save_steps=3,
        save_total_limit=3,
        metric_for_best_model="loss",
        use_cpu=True,
        **more,
    )
    data = mapped()
    trainer = Trainer(
        LlamaForCausalLM(config),
        args,
        data_collator=collate,
        train_dataset=Stream() if given.kind == "stream" else data,
        eval_dataset=data[:8],
        callbacks=[EarlyStoppingCallback(3), Slowly(given.slow)],
    )
    trainer.train(resume_from_checkpoint=given.resume or None)
    print(json.dumps(digest(trainer)), flush=True)


if __name__ == "__main__":
    main()
