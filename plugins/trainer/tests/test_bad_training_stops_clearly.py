"""Losses that are no numbers, labels that no class has, data that is none, trackers that die."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset
from transept_trainer.failures import NonFiniteLossError

from transept.errors import ConfigError, InputError, TranseptError, UnknownArgumentError


def test_a_loss_that_is_no_number_stops_names_the_batch_and_saves(
    trainer_of: Callable[..., Any], tiny: Callable[..., Any], rows: list[Any], tmp_path: Path
) -> None:
    """One token's embedding is no number, so one row of the data is bad."""
    bad = 25
    rows[bad] = {"input_ids": [1] * 12, "labels": [1] * 12}
    rows = [
        row if place == bad else {name: [max(2, one) for one in row[name]] for name in row} for place, row in enumerate(rows)
    ]
    model = tiny(tie_word_embeddings=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[1] = float("nan")
    trainer = trainer_of(model=model, train_dataset=rows, optim="sgd")
    with pytest.raises(
        NonFiniteLossError, match=r"The loss is nan in step \d+, epoch 0, batch \d+ of the epoch \(rows .*25"
    ) as caught:
        trainer.train()
    error = caught.value
    assert bad in error.rows
    assert error.step == trainer.state.global_step + 1 == error.batch + 1
    folder = tmp_path / "out" / f"checkpoint-{error.step - 1}"
    assert str(folder) == error.checkpoint
    assert folder.is_dir()
    position = json.loads((folder / "training.json").read_text())["position"]
    assert position["batch"] == error.batch
    assert all(torch.isfinite(p).all() for name, p in model.named_parameters() if "embed" not in name), "the step was not taken"


def test_a_gradient_that_is_no_number_stops_too(trainer_of: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    model = tiny()
    model.lm_head.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(NonFiniteLossError, match="the gradient's norm is"):
        trainer_of(model=model).train()


def test_a_batch_without_labels_is_told_apart(trainer_of: Callable[..., Any]) -> None:
    rows = [{"input_ids": [2, 3], "labels": [-100, -100]}] * 8
    with pytest.raises(NonFiniteLossError, match="No label of the batch counts"):
        trainer_of(train_dataset=rows).train()


def test_it_goes_on_where_that_is_wanted(trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    rows[3] = {"input_ids": [2] * 12, "labels": [-100] * 12}
    trainer = trainer_of(train_dataset=rows, per_device_train_batch_size=1, max_steps=40, stop_on_nan=False, logging_steps=40)
    trainer.train()
    assert trainer.state.global_step == 40
    logged = trainer.state.log_history[0]["loss"]
    assert logged == logged, "left out of what is logged"


def test_labels_out_of_range_name_the_batch(trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    rows[9] = {"input_ids": rows[9]["input_ids"], "labels": [*rows[9]["labels"][:-1], 64]}
    trainer = trainer_of(train_dataset=rows)
    with pytest.raises(InputError, match=r"labels` reach outside the 64 classes.*It happened in step .*rows .*\b9\b"):
        trainer.train()


@pytest.mark.parametrize(
    ("labels", "said"),
    [([[0, 7]], "there is a 7"), ([[0, -3]], "there is a -3"), ([[0, -100, 4]], None)],
    ids=["high", "low", "fine"],
)
def test_labels_are_looked_at_before_they_reach_a_device(labels: list[Any], said: str | None) -> None:
    from transept_trainer.failures import check_labels

    if said is None:
        check_labels(torch.tensor(labels), 5)
    else:
        with pytest.raises(InputError, match=said):
            check_labels(torch.tensor(labels), 5)


class NoLength(Dataset):
    def __getitem__(self, row: int) -> Any:
        return {"input_ids": [2]}


class Nothing(IterableDataset):
    def __iter__(self) -> Any:
        return iter(())


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ([], InputError, "`train_dataset` is empty"),
        (Nothing(), InputError, "training data is empty"),
        (NoLength(), InputError, "no length"),
        ({"train": [1]}, InputError, "give one of them, such as `dataset\\['train'\\]`"),
        ("train.txt", InputError, "give a dataset"),
        ([{"text": "hello"}] * 8, InputError, "None of the columns `text`.*Tokenize"),
        ([{"input_ids": [2, 3]}] * 8, InputError, "returned no loss for `input_ids`"),
        ([{"input_ids": [2, 3], "labels": [2, 3]}, {"input_ids": [2], "labels": [2]}] * 4, InputError, "cannot be stacked.*It happened in step 1"),
    ],
    ids=["list", "iterable", "no-length", "mapping", "text", "columns", "no-labels", "ragged"],
)  # fmt: skip
def test_data_that_cannot_be_trained_on(trainer_of: Callable[..., Any], data: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        trainer_of(train_dataset=data).train()


def test_no_whole_batch(trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    with pytest.raises(InputError, match="no whole batches"):
        trainer_of(train_dataset=rows[:3], dataloader_drop_last=True).train()
    with pytest.raises(ConfigError, match="no length: set `max_steps`"):
        trainer_of(train_dataset=Nothing(), max_steps=-1).train()


def test_an_error_of_somebody_elses_names_the_batch(trainer_of: Callable[..., Any]) -> None:
    def collate(examples: list[Any]) -> Any:
        raise ZeroDivisionError("a collator's own trouble")

    with pytest.raises(ZeroDivisionError) as caught:
        trainer_of(data_collator=collate).train()
    assert "In step 1, epoch 0, batch 0 of the epoch (rows " in "".join(caught.value.__notes__)


def test_a_tracker_that_dies_is_left_out(trainer_of: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    from accelerate.tracking import GeneralTracker

    class Dying(GeneralTracker):
        name, requires_logging_directory, main_process_only = "dying", False, True

        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        @property
        def tracker(self) -> Any:
            return self

        def store_init_configuration(self, values: Any) -> None:
            assert values["learning_rate"] == 5e-5

        def log(self, values: Any, step: int | None = None, **kwargs: Any) -> None:
            self.calls += 1
            if self.calls == 2:
                raise ConnectionError("the service is gone")

    dying = Dying()
    trainer = trainer_of(report_to=[dying], logging_steps=1)
    trainer.train()
    assert trainer.state.global_step == 10
    assert dying.calls == 2, "it is not asked again"
    assert "The tracker `dying` failed and is left out from here on: ConnectionError: the service is gone" in caplog.text


def test_what_a_trainer_is_not_made_from(trainer_of: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    from transept import Trainer, TrainingArguments

    with pytest.raises(InputError, match="one of `model` and `model_init`"):
        Trainer(args=TrainingArguments("out"))
    with pytest.raises(UnknownArgumentError, match="older spelling of `processing_class`"):
        Trainer(tiny(), TrainingArguments("out", use_cpu=True), processing_class=1, tokenizer=2)
    with pytest.raises(ConfigError, match="no `eval_dataset`"):
        trainer_of(eval_strategy="epoch")
    with pytest.raises(ConfigError, match="compute_result"):
        trainer_of(batch_eval_metrics=True, compute_metrics=lambda found: {})
    with pytest.raises(ConfigError, match="give transept's `TrainingArguments`"):
        Trainer(tiny(), args={"output_dir": "out"})
    model = tiny()
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match="No parameter of `LlamaForCausalLM` is trainable"):
        trainer_of(model=model).train()
    with pytest.raises(ConfigError, match="`metric_for_best_model` is `eval_bleu`, which the evaluation does not give"):
        trainer_of(
            eval_strategy="steps",
            eval_steps=2,
            metric_for_best_model="bleu",
            eval_dataset=[{"input_ids": [2, 2], "labels": [2, 2]}],
        ).train()


def test_errors_are_transepts() -> None:
    assert issubclass(NonFiniteLossError, TranseptError)
