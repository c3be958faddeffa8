"""Events, overridden steps, custom losses and metrics, data of every kind, what is written beside the checkpoints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from transept_trainer.callbacks import EVENTS

from transept import EarlyStoppingCallback, Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainerCallback
from transept.discovery import registry


class Telling(TrainerCallback):
    """Writes down each event."""

    def __init__(self) -> None:
        self.told: list[str] = []


def _telling(event: str) -> Callable[..., None]:
    def tell(self: Telling, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert {
            "model",
            "processing_class",
            "optimizer",
            "lr_scheduler",
            "train_dataloader",
            "eval_dataloader",
        } <= kwargs.keys()
        self.told.append(event)

    return tell


for _event in EVENTS:
    setattr(Telling, _event, _telling(_event))


def test_the_sixteen_events_come_in_the_peers_order(trainer_of: Callable[..., Any], rows: list[Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")

    class PeerTelling(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.told: list[str] = []

    for event in EVENTS:
        assert hasattr(transformers.TrainerCallback, event)
        setattr(PeerTelling, event, _telling(event))
    settings: dict[str, Any] = {
        "max_steps": 5, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "logging_steps": 2,
        "save_strategy": "steps", "save_steps": 3, "eval_strategy": "steps", "eval_steps": 3, "use_cpu": True,
    }  # fmt: skip
    ours = Telling()
    trainer = trainer_of(eval_dataset=rows[:4], callbacks=[ours], **settings)
    trainer.train()
    trainer.predict(rows[:4])
    theirs = PeerTelling()
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    args = transformers.TrainingArguments(str(tmp_path / "peer"), report_to="none", disable_tqdm=True, **settings)
    peer = transformers.Trainer(
        transformers.LlamaForCausalLM(config), args, train_dataset=rows, eval_dataset=rows[:4], callbacks=[theirs],
        data_collator=transformers.default_data_collator,
    )  # fmt: skip
    peer.train()
    peer.predict(rows[:4])
    assert ours.told == theirs.told
    assert set(EVENTS) - set(ours.told) == {"on_push_begin"}


def test_observers_hear_of_training(trainer_of: Callable[..., Any]) -> None:
    from transept_hookspecs import hookimpl

    heard: list[str] = []

    class Observer:
        @staticmethod
        @hookimpl
        def training_event(trainer: Any, event: str, state: Any) -> None:
            heard.append(event)

    with registry.register(Observer(), "observer"):
        trainer_of(max_steps=1).train()
    assert heard[0] == "on_init_end"
    assert heard[-1] == "on_train_end"


def test_an_optimizer_of_a_strangers_plugin(trainer_of: Callable[..., Any]) -> None:
    """The peer's list is closed; here a dist, or this test, brings one."""
    from transept_hookspecs import OptimizerSpec, SchedulerSpec, hookimpl

    class Plugin:
        @staticmethod
        @hookimpl
        def provide_optimizers() -> Any:
            return [OptimizerSpec(key="mine", optimizer=f"{__name__}:mine", aliases=("my_own",))]

        @staticmethod
        @hookimpl
        def provide_schedulers() -> Any:
            return [SchedulerSpec(key="halving", scheduler=f"{__name__}:halving")]

    sys.modules.setdefault(__name__, sys.modules[test_an_optimizer_of_a_strangers_plugin.__module__])
    with registry.register(Plugin(), "mine"):
        trainer = trainer_of(
            optim="my_own", optim_args={"momentum": 0.5}, lr_scheduler_type="halving", lr_scheduler_kwargs={"every": 2}, learning_rate=0.1, logging_steps=1
        )  # fmt: skip
        trainer.train()
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.5
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert rates[:5] == [0.1, 0.1, 0.05, 0.05, 0.025]


def mine(params: Any, *, lr: float, weight_decay: float = 0.0, momentum: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=lr, momentum=momentum, weight_decay=weight_decay)


def halving(optimizer: Any, *, num_warmup_steps: int, num_training_steps: int, every: int) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, every, 0.5)


class Mapped(Dataset):
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Any:
        return self.rows[row]


class Streamed(IterableDataset):
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        return iter(self.rows)


class Plain:
    """Can be gone through, and is nobody's dataset."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        return iter(self.rows)


@pytest.mark.parametrize("kind", ["list", "map", "stream", "plain", "hub", "hub-stream"])
def test_data_of_every_kind_gives_the_same_run(
    trainer_of: Callable[..., Any], rows: list[Any], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In order, as an iterable has no other; a column that the model does not take is dropped with one line."""
    rows = [{**row, "source": "a book"} for row in rows]
    make: dict[str, Callable[[list[Any]], Any]] = {"list": list, "map": Mapped, "stream": Streamed, "plain": Plain}
    if kind.startswith("hub"):
        datasets = pytest.importorskip("datasets")
        make["hub"] = datasets.Dataset.from_list
        make["hub-stream"] = lambda rows: datasets.Dataset.from_list(rows).to_iterable_dataset()
    trainer = trainer_of(
        train_dataset=make[kind](rows), eval_dataset=make[kind](rows[:6]), train_sampling_strategy="sequential"
    )
    trainer.train()
    plain = trainer_of(train_dataset=rows, eval_dataset=rows[:6], train_sampling_strategy="sequential")
    assert "do not take" not in caplog.text
    said = [line for line in caplog.messages if "does not take are left out: source" in line]
    assert len(said) == 1, "one line, however many batches"
    plain.train()
    assert [one["loss"] for one in trainer.state.log_history if "loss" in one] == [
        one["loss"] for one in plain.state.log_history if "loss" in one
    ]
    assert trainer.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"]


def test_workers_change_nothing(trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    """Not even what a collator draws."""
    losses = []
    for workers in (0, 2):
        trainer = trainer_of(train_dataset=rows, data_collator=drawing_collator, dataloader_num_workers=workers)
        losses.append(trainer.train().training_loss)
    assert losses[0] == losses[1]


def drawing_collator(examples: list[Any]) -> Any:
    batch = {name: torch.tensor([row[name] for row in examples]) for name in examples[0]}
    batch["labels"][torch.rand(batch["labels"].shape) < 0.3] = -100
    return batch


def test_a_loader_of_ones_own(tiny: Callable[..., Any], trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    class Own(Trainer):
        def get_train_dataloader(self) -> Any:
            return DataLoader(rows, batch_size=5, collate_fn=self.data_collator)

    trainer = trainer_of(cls=Own, max_steps=-1, num_train_epochs=2)
    trainer.train()
    assert trainer.state.global_step == 16


class TestLosses:
    def test_a_function(self, trainer_of: Callable[..., Any]) -> None:
        seen = []

        def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
            seen.append(int(num_items_in_batch))
            flat = torch.nn.functional.cross_entropy(
                outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"
            )
            return flat / num_items_in_batch

        plain = trainer_of(gradient_accumulation_steps=2, max_steps=4, logging_steps=1)
        plain.train()
        own = trainer_of(gradient_accumulation_steps=2, max_steps=4, logging_steps=1, compute_loss_func=loss)
        own.train()
        assert seen[0] == 2 * 4 * 11
        losses = [[entry["loss"] for entry in trainer.state.log_history if "loss" in entry] for trainer in (plain, own)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)
        held_out = own.train_dataset[:5]
        assert own.evaluate(held_out)["eval_loss"] == pytest.approx(plain.evaluate(held_out)["eval_loss"], abs=1e-6)

    @pytest.mark.parametrize("way", ["super", "mean", "sum"])
    def test_a_method(self, trainer_of: Callable[..., Any], way: str) -> None:
        """An override that calls the base, one that takes a mean, and one that divides by the count: the same step."""

        class Own(Trainer):
            def compute_loss(
                self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
            ) -> Any:
                if way == "super":
                    return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
                outputs = model(input_ids=inputs["input_ids"])
                logits, labels = outputs.logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten()
                loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / num_items_in_batch
                return (loss, outputs) if return_outputs else loss

        class Mean(Trainer):
            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
                outputs = model(**inputs)
                return (outputs.loss, outputs) if return_outputs else outputs.loss

        settings = {"gradient_accumulation_steps": 2, "max_steps": 3, "logging_steps": 1}
        plain, own = trainer_of(**settings), trainer_of(cls=Mean if way == "mean" else Own, **settings)
        plain.train()
        own.train()
        losses = [[entry["loss"] for entry in trainer.state.log_history if "loss" in entry] for trainer in (plain, own)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_metrics_and_preprocessing(trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    def best(logits: Any, labels: Any) -> Any:
        return logits.argmax(-1)

    def accuracy(found: Any) -> dict[str, Any]:
        assert found.predictions.shape == found.label_ids.shape == found.inputs.shape == (10, 12)
        assert found.losses.shape == (10,)
        return {"accuracy": (found.predictions[:, :-1] == found.label_ids[:, 1:]).mean()}

    trainer = trainer_of(
        eval_dataset=rows[:10], compute_metrics=accuracy, preprocess_logits_for_metrics=best, include_for_metrics=["inputs", "loss"],
        eval_accumulation_steps=1, learning_rate=3e-2, max_steps=30,
    )  # fmt: skip
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_accuracy"] > before["eval_accuracy"] + 0.3
    assert isinstance(after["eval_accuracy"], float)


def test_metrics_batch_by_batch(trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    counts: list[int] = []

    def accumulate(found: Any, compute_result: bool) -> dict[str, int]:
        counts.append(len(found.predictions))
        return {"seen": sum(counts)} if compute_result else {}

    trainer = trainer_of(
        eval_dataset=rows[:10], compute_metrics=accumulate, batch_eval_metrics=True, per_device_eval_batch_size=4
    )
    assert trainer.evaluate()["eval_seen"] == 10
    assert counts == [4, 4, 2]


def test_several_evaluation_sets(trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    trainer = trainer_of(
        eval_dataset={"first": rows[:4], "second": rows[4:8]},
        eval_strategy="steps",
        eval_steps=5,
        metric_for_best_model="second_loss",
    )
    trainer.train()
    metrics = trainer.evaluate()
    assert {"eval_first_loss", "eval_second_loss"} <= metrics.keys()
    assert trainer.state.best_metric is not None
    assert trainer.evaluate({"other": rows[:2]}).keys() >= {"eval_other_loss"}


def test_predictions_of_different_lengths_are_filled(trainer_of: Callable[..., Any]) -> None:
    def collate(examples: list[Any]) -> Any:
        return {name: torch.tensor([row[name] for row in examples]) for name in examples[0]}

    rows = [{"input_ids": [2] * size, "labels": [2] * size} for size in (3, 5)]
    found = trainer_of(data_collator=collate, per_device_eval_batch_size=1).predict(rows)
    assert found.predictions.shape == (2, 5, 64)
    assert (found.predictions[0, 3:] == -100).all()
    assert found.label_ids.tolist() == [[2, 2, 2, -100, -100], [2] * 5]


def test_a_model_made_anew_each_time(trainer_of: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    trainer = trainer_of(model_init=tiny)
    first = trainer.train().training_loss
    assert trainer.train().training_loss == first


def test_a_second_run_goes_on_from_the_first(trainer_of: Callable[..., Any]) -> None:
    trainer = trainer_of(learning_rate=1e-2)
    first = trainer.train().training_loss
    assert trainer.train().training_loss < first - 0.3


def test_early_stopping(trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    settings = {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "loss", "learning_rate": 0.0}
    trainer = trainer_of(eval_dataset=rows[:4], callbacks=[EarlyStoppingCallback(2)], **settings)
    assert trainer.train().global_step == 3


def test_noise_on_embeddings_is_there_while_training_alone(trainer_of: Callable[..., Any]) -> None:
    plain, noisy = trainer_of(), trainer_of(neftune_noise_alpha=5.0)
    rows = plain.train_dataset[:4]
    assert plain.evaluate(rows)["eval_loss"] == noisy.evaluate(rows)["eval_loss"]
    assert plain.train().training_loss != noisy.train().training_loss
    assert not noisy.model.get_input_embeddings()._forward_hooks


def test_the_log_and_the_curve_stand_beside_the_checkpoints(
    trainer_of: Callable[..., Any], rows: list[Any], tmp_path: Path
) -> None:
    trainer = trainer_of(eval_dataset=rows[:4], eval_strategy="steps", eval_steps=5, logging_steps=1, logging_first_step=True)
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert lines == trainer.state.log_history
    picture = (tmp_path / "out" / "loss.svg").read_text()
    assert picture.startswith("<?xml")
    assert "training" in picture
    assert "eval_loss" in picture
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", re.sub("<!--.*?-->", "", picture)), (
        "it loads nothing from elsewhere"
    )


def test_a_bar_on_a_terminal(
    trainer_of: Callable[..., Any], rows: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("transept_trainer.trainer.has_terminal", lambda: True)
    trainer = trainer_of(eval_dataset=rows[:4], eval_strategy="steps", eval_steps=5)
    trainer.train()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "Training" in shown
    assert "10/10" in shown
    assert re.search(r"loss \d\.\d{4}", shown), "the live loss"
    assert "step 5 · loss" in shown


def test_lines_elsewhere(trainer_of: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    trainer_of().train()
    assert re.search(r"^step 5/10 · loss \d\.\d+ · grad_norm", capsys.readouterr().out, re.MULTILINE)


def test_a_tensorboard_is_asked_for_where_it_is_installed(trainer_of: Callable[..., Any], tmp_path: Path) -> None:
    from accelerate.tracking import GeneralTracker

    class Recorder(GeneralTracker):
        name, requires_logging_directory, main_process_only = "recorder", False, True

        def __init__(self) -> None:
            super().__init__()
            self.logged: list[tuple[int | None, dict[str, Any]]] = []
            self.finished = False

        @property
        def tracker(self) -> Any:
            return self

        def store_init_configuration(self, values: Any) -> None:
            self.configuration = values

        def log(self, values: Any, step: int | None = None, **kwargs: Any) -> None:
            self.logged.append((step, values))

        def finish(self) -> None:
            self.finished = True

    recorder = Recorder()
    trainer = trainer_of(report_to=[recorder])
    trainer.train()
    trainer.end()
    assert [step for step, _ in recorder.logged] == [5, 10, 10]
    assert recorder.configuration["max_steps"] == 10
    assert recorder.finished


@pytest.fixture
def tiny_t5() -> Any:
    from transept import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0, dropout_rate=0.0
    )
    return T5ForConditionalGeneration(config)


def test_predictions_that_are_generated(tiny_t5: Any, tmp_path: Path) -> None:
    rows = [{"input_ids": [3 + n % 30, 4, 1], "labels": [3 + n % 30, 1]} for n in range(32)]
    args = Seq2SeqTrainingArguments(
        str(tmp_path), predict_with_generate=True, generation_max_length=6, generation_num_beams=2, max_steps=60, learning_rate=3e-2,
        use_cpu=True, save_strategy="no", per_device_train_batch_size=16,
    )  # fmt: skip

    def exact(found: Any) -> dict[str, float]:
        labels = np.pad(found.label_ids, [(0, 0), (0, found.predictions.shape[1] - 1 - found.label_ids.shape[1])])
        return {"exact": float((found.predictions[:, 1:] == labels).all(1).mean())}

    trainer = Seq2SeqTrainer(tiny_t5, args, train_dataset=rows, eval_dataset=rows[:9], compute_metrics=exact)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_exact"] > max(0.8, before["eval_exact"])
    assert after["eval_loss"] < before["eval_loss"]
    found = trainer.predict(rows[:3], max_new_tokens=3, num_beams=1)
    assert found.predictions.shape == (3, 4)
    assert found.label_ids.shape == (3, 2)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """DDP over two processes on the CPU: twice the batch, the same losses."""
    script = tmp_path / "train.py"
    script.write_text(
        """
import json, sys, torch
from transept import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
torch.manual_seed(0)
config = LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0)
rows = [{"input_ids": (ids := [2 + (n * 7 + p * 3) % 60 for p in range(12)]), "labels": [-100] * (n % 9) + ids[n % 9:]} for n in range(40)]
args = TrainingArguments(sys.argv[1], per_device_train_batch_size=int(sys.argv[2]), max_steps=12, logging_steps=1, use_cpu=True,
                         save_strategy="steps", save_steps=6, gradient_accumulation_steps=2, learning_rate=1e-2)
trainer = Trainer(LlamaForCausalLM(config), args, train_dataset=rows, eval_dataset=rows[:7])
trainer.train()
found = trainer.evaluate()
if trainer.is_world_process_zero():
    total = sum(float(p.double().abs().sum()) for p in trainer.model.parameters())
    print(json.dumps({"weights": total, "eval": found["eval_loss"]}))
trainer.end()
"""
    )
    one = subprocess.run([sys.executable, str(script), str(tmp_path / "one"), "8"], capture_output=True, text=True, check=False)
    assert one.returncode == 0, one.stderr
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
        str(tmp_path / "two"),
        "4",
    ]
    two = subprocess.run(launch, capture_output=True, text=True, check=False)
    assert two.returncode == 0, two.stderr
    alone, together = (json.loads(done.stdout.strip().splitlines()[-1]) for done in (one, two))
    assert together["weights"] == pytest.approx(alone["weights"], rel=1e-4)
    # a mean of means over batches that are cut differently
    assert together["eval"] == pytest.approx(alone["eval"], rel=1e-3)
    assert len(list((tmp_path / "two").glob("checkpoint-*"))) == 2
