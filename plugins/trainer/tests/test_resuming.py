"""Resuming within one process: what is read, what is refused, what is said."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from transept import EarlyStoppingCallback, TrainerCallback, get_last_checkpoint
from transept.errors import CheckpointError, CheckpointNotFoundError, ConfigError, SaveError


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def saved(trainer_of: Callable[..., Any]) -> tuple[Path, dict[str, torch.Tensor]]:
    """A whole run with checkpoints at 4, 8 and 10 of 10 steps, and what it came to."""
    trainer = trainer_of(save_strategy="steps", save_steps=4)
    trainer.train()
    return Path(trainer.args.output_dir), weights(trainer)


@pytest.mark.parametrize("step", [4, 8])
def test_from_any_checkpoint(saved: Any, trainer_of: Callable[..., Any], step: int) -> None:
    folder, whole = saved
    trainer = trainer_of(save_strategy="steps", save_steps=4)
    result = trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{step}"))
    assert result.global_step == 10
    assert same(weights(trainer), whole)


def test_by_epochs(trainer_of: Callable[..., Any], tmp_path: Path) -> None:
    """A checkpoint at the end of an epoch: the next one begins, and the end is not told twice."""
    settings = {
        "max_steps": -1,
        "num_train_epochs": 3,
        "save_strategy": "epoch",
        "eval_strategy": "epoch",
        "logging_strategy": "epoch",
    }
    whole = trainer_of(eval_dataset=[{"input_ids": [2, 3], "labels": [2, 3]}], **settings)
    whole.train()
    shutil.rmtree(tmp_path / "out" / "checkpoint-30")
    cut = trainer_of(eval_dataset=[{"input_ids": [2, 3], "labels": [2, 3]}], **settings)
    cut.train(resume_from_checkpoint=True)
    assert same(weights(whole), weights(cut))
    assert [entry["step"] for entry in cut.state.log_history] == [entry["step"] for entry in whole.state.log_history]


def test_between_the_last_batch_and_the_end_of_its_epoch(trainer_of: Callable[..., Any]) -> None:
    """What is logged at the end of the epoch is what it would have been."""
    settings = {"max_steps": 15, "save_strategy": "steps", "save_steps": 10, "logging_strategy": "epoch"}
    whole = trainer_of(**settings)
    whole.train()
    cut = trainer_of(**settings)
    cut.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-10")
    assert same(weights(whole), weights(cut))
    logged = [[entry for entry in trainer.state.log_history if "loss" in entry] for trainer in (whole, cut)]
    assert logged[0] == logged[1]
    assert len(logged[0]) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "manifest"])
def test_a_torn_checkpoint_gives_way_to_the_newest_whole_one(
    saved: Any, trainer_of: Callable[..., Any], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder, whole = saved
    file = folder / "checkpoint-10" / ("checkpoint.json" if damage == "manifest" else "optimizer.safetensors")
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        file.write_bytes(content[: len(content) // 2])
    assert get_last_checkpoint(folder) == str(folder / "checkpoint-8")
    for wanted in (True, str(folder / "checkpoint-10")):
        trainer = trainer_of(save_strategy="no")
        caplog.clear()
        trainer.train(resume_from_checkpoint=wanted)
        said = caplog.text
        assert "checkpoint-10` is passed over" in said
        assert "checkpoint-8" in said
        assert same(weights(trainer), whole)


def test_a_foreign_checkpoint_is_passed_over(
    saved: Any, trainer_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = saved
    foreign = folder / "checkpoint-99"
    foreign.mkdir()
    (foreign / "optimizer.pt").write_bytes(b"pickled")
    trainer_of().train(resume_from_checkpoint=True)
    assert "another program's" in caplog.text
    for name in ("checkpoint-4", "checkpoint-8", "checkpoint-10"):
        shutil.rmtree(folder / name)
    with pytest.raises(CheckpointError, match=r"No checkpoint .* can be resumed from.*another program's"):
        trainer_of().train(resume_from_checkpoint=True)


def test_nothing_to_resume_from(trainer_of: Callable[..., Any], tmp_path: Any) -> None:
    with pytest.raises(CheckpointNotFoundError, match="no checkpoints to resume from"):
        trainer_of().train(resume_from_checkpoint=True)
    with pytest.raises(CheckpointNotFoundError, match=r"no checkpoint `.*nowhere`"):
        trainer_of().train(resume_from_checkpoint=str(tmp_path / "nowhere"))


def test_another_model_or_optimizer_is_refused(saved: Any, trainer_of: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    with pytest.raises(CheckpointError, match="made with another model"):
        trainer_of(model=tiny(hidden_size=32, head_dim=16)).train(resume_from_checkpoint=True)
    with pytest.raises(ConfigError, match="made with `AdamW`, and this run has `SGD`"):
        trainer_of(optim="sgd").train(resume_from_checkpoint=True)


def test_other_batches_are_refused_inside_an_epoch(saved: Any, trainer_of: Callable[..., Any]) -> None:
    folder, _ = saved
    shutil.rmtree(folder / "checkpoint-10")
    with pytest.raises(ConfigError, match="`batch_size` was 4 and is 8"):
        trainer_of(per_device_train_batch_size=8).train(resume_from_checkpoint=True)
    trainer_of(per_device_train_batch_size=8, ignore_data_skip=True).train(resume_from_checkpoint=True)


def test_a_full_disk_is_said_and_earlier_checkpoints_stay(
    trainer_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import transept_trainer.checkpoint as checkpoint

    write, calls = checkpoint.save_file, []

    def full(*arguments: Any, **more: Any) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments, **more)

    monkeypatch.setattr(checkpoint, "save_file", full)
    trainer = trainer_of(save_strategy="steps", save_steps=4)
    with pytest.raises(
        SaveError, match=r"checkpoint-8` could not be saved: No space left.*Earlier checkpoints are as they were"
    ):
        trainer.train()
    assert get_last_checkpoint(tmp_path / "out") == str(tmp_path / "out" / "checkpoint-4")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"checkpoint-4", "log.jsonl"}


def test_what_a_killed_save_left_is_removed(trainer_of: Callable[..., Any], tmp_path: Path) -> None:
    left = tmp_path / "out" / ".checkpoint-2.01234567.tmp"
    left.mkdir(parents=True)
    aside = tmp_path / "out" / ".checkpoint-3.01234567.old"
    aside.mkdir()
    trainer_of(save_strategy="steps", save_steps=4).train()
    assert not left.exists()
    assert not aside.exists()
    assert (tmp_path / "out" / "checkpoint-3").is_dir(), "one that was set aside while it was replaced comes back"


def test_nothing_is_pickled(saved: Any) -> None:
    folder, _ = saved
    for path in folder.rglob("*"):
        assert path.is_dir() or path.suffix in (".json", ".jsonl", ".safetensors", ".svg"), path
    training = json.loads((folder / "checkpoint-8" / "training.json").read_text())
    assert training["position"]["batch"] == 8
    assert training["optimizer"]["class"] == "AdamW"


def test_a_model_whose_file_has_other_names_resumes_too(trainer_of: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """Fused projections are written as they came; the live ones stand beside them."""

    def fused() -> Any:
        return tiny().rewrite("fuse_projections")

    settings = {"save_strategy": "steps", "save_steps": 4}
    whole = trainer_of(model=fused(), **settings)
    whole.train()
    assert (Path(whole.args.output_dir) / "checkpoint-4" / "live.safetensors").exists()
    cut = trainer_of(model=fused(), **settings)
    cut.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-4")
    assert same(weights(whole), weights(cut))


def test_callbacks_go_on_from_where_they_were(trainer_of: Callable[..., Any], rows: list[Any]) -> None:
    settings = {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "steps",
        "save_steps": 2,
        "metric_for_best_model": "loss",
    }
    settings |= {"learning_rate": 0.0}
    patient = EarlyStoppingCallback(4)
    first = trainer_of(eval_dataset=rows[:4], callbacks=[patient], **settings)
    first.train()
    assert first.state.global_step == 10
    assert patient.early_stopping_patience_counter == 4
    again = EarlyStoppingCallback(4)
    second = trainer_of(eval_dataset=rows[:4], callbacks=[again], **{**settings, "max_steps": 12})
    second.train(resume_from_checkpoint=f"{first.args.output_dir}/checkpoint-6")
    assert second.state.global_step == 10


def test_saves_are_limited_and_the_best_one_stays(trainer_of: Callable[..., Any], rows: list[Any], tmp_path: Path) -> None:
    class Spoil(TrainerCallback):
        """After step 4 the model only becomes worse."""

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            if state.global_step > 4:
                with torch.no_grad():
                    model.lm_head.weight.zero_()

    settings = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 2}
    trainer = trainer_of(eval_dataset=rows[:8], callbacks=[Spoil], load_best_model_at_end=True, learning_rate=1e-2, **settings)
    trainer.train()
    assert sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-4"]
    assert trainer.state.best_global_step == 4
    assert trainer.evaluate()["eval_loss"] == pytest.approx(trainer.state.best_metric, abs=1e-6)


def test_an_adapter_resumes_too(trainer_of: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """Checkpoints hold what is trained; the frozen weights come with the model."""
    peft = pytest.importorskip("peft")

    def adapted() -> Any:
        torch.manual_seed(3)
        return peft.get_peft_model(tiny(), peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))

    settings = {"save_strategy": "steps", "save_steps": 4, "learning_rate": 1e-2}
    whole = trainer_of(model=adapted(), **settings)
    whole.train()
    folder = Path(whole.args.output_dir) / "checkpoint-4"
    assert (folder / "adapter_model.safetensors").exists()
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 100_000
    cut = trainer_of(model=adapted(), **settings)
    cut.train(resume_from_checkpoint=str(folder))
    assert same(weights(whole), weights(cut))
    assert not same(weights(whole), adapted().state_dict())
