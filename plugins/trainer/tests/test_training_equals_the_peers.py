"""The same model, data and seed: losses, rates, gradients and predictions of transept's trainer and the peer's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

from transept import DataCollatorWithPadding, SchedulerType, Trainer, TrainingArguments, get_scheduler  # noqa: E402
from transept.discovery import registry  # noqa: E402

SIZE = {
    "vocab_size": 260,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}


def real_text() -> bytes:
    """English prose that every Python carries: the reference behind `help()`."""
    from pydoc_data import topics

    return "\n\n".join(value for _, value in sorted(topics.topics.items())).encode()


def blocks(length: int = 64, count: int = 230) -> list[dict[str, list[int]]]:
    ids = [byte + 3 for byte in real_text()[: length * count]]
    return [{"input_ids": ids[at : at + length], "labels": ids[at : at + length]} for at in range(0, len(ids), length)]


def both(
    tmp_path: Path, rows: list[Any], *, peer_only: dict[str, Any] | None = None, kind: str = "LlamaForCausalLM", **given: Any
):
    """Train the peer's model with the peer's trainer, and the same weights with ours."""
    settings = {"report_to": "none", "save_strategy": "no", "logging_steps": 1, "use_cpu": True, "disable_tqdm": True, **given}
    models = settings.pop("models", {})
    torch.manual_seed(0)
    theirs = getattr(transformers, kind)(transformers.LlamaConfig(**{**SIZE, **models}))
    theirs.save_pretrained(tmp_path / "start")
    import transept

    ours = getattr(transept, kind).from_pretrained(tmp_path / "start")
    own = {name: settings.pop(name) for name in ("eval_dataset", "compute_metrics") if name in settings}
    peer = transformers.Trainer(
        theirs,
        transformers.TrainingArguments(str(tmp_path / "peer"), **settings, **(peer_only or {})),
        train_dataset=rows,
        data_collator=transformers.default_data_collator,
        **own,
    )
    mine = Trainer(ours, TrainingArguments(str(tmp_path / "mine"), **settings), train_dataset=rows, **own)
    return peer, mine


def curve(trainer: Any, what: str = "loss") -> list[float]:
    return [entry[what] for entry in trainer.state.log_history if what in entry]


def test_fifty_steps_of_a_small_llama_on_real_text(tmp_path: Path) -> None:
    peer, mine = both(
        tmp_path, blocks(), max_steps=50, per_device_train_batch_size=8, learning_rate=3e-3, warmup_steps=5, weight_decay=0.1
    )
    peer.train()
    mine.train()
    theirs, ours = curve(peer), curve(mine)
    assert len(ours) == 50
    assert max(abs(one - other) for one, other in zip(ours, theirs, strict=True)) < 1e-4
    assert ours[-1] < ours[0] - 1.5, "it learns"
    assert curve(mine, "learning_rate") == pytest.approx(curve(peer, "learning_rate"))
    assert curve(mine, "grad_norm") == pytest.approx(curve(peer, "grad_norm"), rel=1e-3)
    for name, tensor in mine.model.state_dict().items():
        assert torch.allclose(tensor, peer.model.state_dict()[name], atol=1e-3), name


@pytest.mark.parametrize(
    "given",
    [
        {"gradient_accumulation_steps": 3},
        {"label_smoothing_factor": 0.1, "gradient_accumulation_steps": 2},
        {"optim": "adafactor", "lr_scheduler_type": "cosine"},
        {"optim": "sgd", "optim_args": "momentum=0.9", "learning_rate": 0.1, "max_grad_norm": 0.0},
        {"optim": "rmsprop", "optim_args": "alpha=0.9"},
        {"optim": "adagrad", "weight_decay": 0.0},
        {"bf16": True},
        {"gradient_checkpointing": True},
    ],
    ids=lambda given: "-".join(given),
)
def test_other_ways_of_training(tmp_path: Path, given: dict[str, Any]) -> None:
    """Rows of different lengths, so that a mean of means would differ from the mean over tokens."""
    rows = blocks(count=60)
    for place, row in enumerate(rows):
        hidden = 3 + (place * 11) % 50
        row["labels"] = [-100] * hidden + row["labels"][hidden:]
    settings = {"max_steps": 8, "per_device_train_batch_size": 4, "learning_rate": 3e-3, **given}
    peer, mine = both(tmp_path, rows, **settings)
    peer.train()
    mine.train()
    # half precision rounds differently in other kernels
    near = 2e-2 if "bf16" in given else 2e-4
    assert curve(mine) == pytest.approx(curve(peer), abs=near)


def test_evaluation_and_prediction(tmp_path: Path) -> None:
    rows = blocks(count=21)

    def accuracy(found: Any) -> dict[str, float]:
        right = found.predictions[:, :-1].argmax(-1) == found.label_ids[:, 1:]
        return {"accuracy": right.mean()}

    settings = {"eval_dataset": rows[:13], "compute_metrics": accuracy, "per_device_eval_batch_size": 8, "max_steps": 1}
    peer, mine = both(tmp_path, rows, **settings)
    theirs, ours = peer.evaluate(), mine.evaluate()
    for name in ("eval_loss", "eval_accuracy"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-5)
    assert {name for name in theirs if "model_preparation" not in name} <= ours.keys() | {"epoch"}
    one, other = mine.predict(rows[:5]), peer.predict(rows[:5])
    assert np.abs(one.predictions - other.predictions).max() < 1e-4
    assert (one.label_ids == other.label_ids).all()


def test_models_that_take_no_count_weigh_labels_all_the_same(tmp_path: Path) -> None:
    """Token classification takes no `num_items_in_batch` here: its means are weighed by the labels that they are over."""
    rows = [
        {"input_ids": row["input_ids"][:20], "labels": [-100] * (n % 18) + [n % 2] * (20 - n % 18)}
        for n, row in enumerate(blocks(count=24))
    ]
    settings = {
        "max_steps": 3,
        "learning_rate": 1e-2,
        "models": {"num_labels": 2, "classifier_dropout": 0.0},
        "kind": "LlamaForTokenClassification",
    }
    _, whole = both(tmp_path / "a", rows, per_device_train_batch_size=8, **settings)
    _, parts = both(tmp_path / "b", rows, per_device_train_batch_size=2, gradient_accumulation_steps=4, **settings)
    whole.train()
    parts.train()
    assert curve(parts) == pytest.approx(curve(whole), abs=1e-5)
    assert curve(parts, "grad_norm") == pytest.approx(curve(whole, "grad_norm"), rel=1e-3)


SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {},
    "cosine": {"num_cycles": 1.5},
    "cosine_with_restarts": {"num_cycles": 3},
    "polynomial": {"power": 2.0, "lr_end": 1e-5},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": 7},
    "cosine_with_min_lr": {"min_lr": 1e-4},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1, "warmup_lr_rate": 0.2},
    "warmup_stable_decay": {"num_decay_steps": 6, "warmup_type": "cosine", "decay_type": "1-sqrt", "min_lr_ratio": 0.1},
    "reduce_lr_on_plateau": {"patience": 1, "factor": 0.5},
    "greedy": {"patience": 2, "factor": 0.8, "min_lr": 1e-4, "cooldown": 1, "warmup": 1, "reset_start": 2, "smooth": True, "window_size": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", [str(each) for each in SchedulerType])
def test_schedules(name: str) -> None:
    """Twelve schedules, each over forty steps (those that follow a metric: of one that goes down, stands, and goes up)."""
    assert set(SCHEDULES) == {str(each) for each in SchedulerType} <= set(registry.keys("schedulers"))
    steps, warmup = 30, 5
    rates: list[list[float]] = []
    for make in (get_scheduler, transformers.get_scheduler):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1e-3)
        schedule = make(
            name, optimizer, num_warmup_steps=warmup, num_training_steps=steps, scheduler_specific_kwargs=SCHEDULES[name]
        )
        found = []
        for step in range(120):
            optimizer.step()
            found.append(optimizer.param_groups[0]["lr"])
            if name in ("reduce_lr_on_plateau", "greedy"):
                schedule.step(math.cos(step / 9) + (0.3 if step > 60 else 0.0))
            elif step < 40:
                schedule.step()
        rates.append(found)
    assert rates[0] == pytest.approx(rates[1], rel=1e-9, abs=1e-15)
    if name != "constant":
        assert len(set(rates[0])) > 2


@pytest.mark.parametrize(
    "given", [{}, {"beta1": 0.9, "weight_decay": 0.1}, {"relative_step": True, "scale_parameter": True, "lr": None}]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_adafactor(given: dict[str, Any], dtype: torch.dtype) -> None:
    from transept import Adafactor

    results = []
    for make in (Adafactor, transformers.Adafactor):
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.randn(shape).to(dtype)) for shape in ((7, 5), (3,), (2, 3, 4))]
        optimizer = make(parameters, **{"lr": 1e-2, "scale_parameter": False, "relative_step": False, **given})
        for _ in range(5):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape).to(dtype)
            optimizer.step()
        results.append(parameters)
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-6 if dtype is torch.float32 else 2e-2)


def test_weight_decay_reaches_the_same_parameters(tmp_path: Path) -> None:
    peer, mine = both(tmp_path, blocks(count=4), max_steps=1)
    assert sorted(mine.get_decay_parameter_names(mine.model)) == sorted(peer.get_decay_parameter_names(peer.model))


def test_group_by_length_puts_like_lengths_together(trainer_of: Callable[..., Any]) -> None:
    rows = [{"input_ids": [2] * (1 + n * 7 % 50), "labels": [2] * (1 + n * 7 % 50)} for n in range(200)]
    trainer = trainer_of(train_dataset=rows, group_by_length=True, data_collator=lambda batch: batch, processing_class=None)
    loader = trainer.get_train_dataloader()
    orders = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        batches = [loader.rows_of(number) for number in range(len(loader))]
        assert sorted(itertools.chain(*batches)) == list(range(200))
        lengths = [[len(rows[row]["input_ids"]) for row in batch] for batch in batches]
        assert max(lengths[0]) == max(map(max, lengths)), "what needs most memory comes first"
        spread = sum(max(batch) - min(batch) for batch in lengths[1:]) / len(lengths[1:])
        assert spread < 8, "a random order has 30"
        orders.append(batches)
    assert orders[0] != orders[1]


def test_padding_follows_the_tokenizer(minilm_folder: Path) -> None:
    from transept_trainer.data import default_collator

    from transept import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    assert isinstance(default_collator(tokenizer), DataCollatorWithPadding)
