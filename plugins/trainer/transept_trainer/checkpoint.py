"""A run on disk, complete: what `train(resume_from_checkpoint=…)` needs to go on as if nothing had happened.

Beside the model's own files a checkpoint has `optimizer.safetensors`, the tensors of the optimizer's state under
`parameter.name:entry`; `training.json`, everything that is no tensor (parameter groups, schedule, scaler, generators, position);
`trainer_state.json`, in the peer's form; `training_args.json`; and `checkpoint.json`, which lists the files.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from transept.errors import CheckpointError, ConfigError, CorruptFileError
from transept.files import read_json

from .callbacks import TrainerState
from .encoding import decode, encode
from .folders import TRAINING
from .notices import notice
from .randomness import restore_randomness, saved_randomness
from .weights import load_tensors

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Position", "Saved", "read_training", "write_training"]

OPTIMIZER = "optimizer.safetensors"
STATE = "trainer_state.json"


@dataclass
class Position:
    """Where in the data a run is, and what it has added up since it last logged."""

    epoch: int = 0
    batch: int = 0
    """Batches of the epoch that are done."""
    epoch_ended: bool = False
    """The epoch's end was told to callbacks, logged, evaluated: the next epoch is to begin."""
    batch_size: int = 0
    processes: int = 1
    order_seed: int = 0
    loss_sum: float = 0.0
    """Of steps since the last log."""
    last_logged: int = 0
    total_loss: float = 0.0
    """Of all steps that were logged."""
    grad_norm: float = 0.0
    learning_rate: float = 0.0
    """Of the last step: they are logged with the loss, maybe at the end of the epoch."""


@dataclass
class Saved:
    """A checkpoint that was read: the state, the position, and how to put the rest back."""

    folder: Path
    state: TrainerState
    position: Position
    training: dict[str, Any]

    def restore_optimizer(self, trainer: Trainer) -> None:
        _restore_optimizer(trainer, self.training["optimizer"], self.folder)
        saved = self.training.get("scaler")
        if saved is not None and trainer.accelerator.scaler is not None:
            trainer.accelerator.scaler.load_state_dict(saved)

    def restore_scheduler(self, trainer: Trainer) -> None:
        found = self.training["scheduler"]
        if found["class"] != type(trainer.lr_scheduler).__name__:
            raise ConfigError(
                f"`{self.folder}` was made with the schedule `{found['class']}`, and this run has `{type(trainer.lr_scheduler).__name__}`."
            )
        kept = decode(found["state"], {}, torch.device("cpu"))
        trainer.lr_scheduler.load_state_dict(kept)

    def restore_randomness(self, trainer: Trainer) -> None:
        every, place = self.training["randomness"], trainer.args.process_index
        if place < len(every):
            restore_randomness(every[place])
        else:
            notice(f"`{self.folder.name}` has the generators of {len(every)} processes; process {place} draws anew.")

    def restore_callbacks(self, trainer: Trainer) -> None:
        """Give each callback that can be saved what it had come to."""
        every = trainer.args.restore_callback_states_from_checkpoint
        for callback in trainer.callback_handler.exportable():
            found = self.state.stateful_callbacks.get(type(callback).__name__)
            if isinstance(found, list):
                found = found[0] if found else None
            if found is None:
                if every:
                    notice(f"`{self.folder.name}` has no state of `{type(callback).__name__}`, which begins anew.")
                continue
            for name, value in {**(found["args"] if every else {}), **found["attributes"]}.items():
                setattr(callback, name, value)


def names_of_parameters(trainer: Trainer) -> dict[int, str]:
    """Names by identity, over all parameters of the model."""
    return {id(parameter): name for name, parameter in trainer.model.named_parameters()}


def inner_optimizer(trainer: Trainer) -> Any:
    """The optimizer itself, out of accelerate's wrapper."""
    optimizer = trainer.optimizer
    return getattr(optimizer, "optimizer", optimizer)


def write_training(trainer: Trainer, folder: Path, position: Position, randomness: list[dict[str, Any]]) -> None:
    """Write all but the model into a folder."""
    tensors: dict[str, Tensor] = {}
    scheduler = trainer.lr_scheduler
    scaler = trainer.accelerator.scaler
    training = {
        "optimizer": _saved_optimizer(trainer, tensors),
        "scheduler": {"class": type(scheduler).__name__, "state": encode(scheduler.state_dict(), "scheduler", tensors)},
        "scaler": None if scaler is None else scaler.state_dict(),
        "position": asdict(position),
        "randomness": randomness,
    }
    if any(name.startswith("scheduler.") for name in tensors):
        raise CheckpointError(f"The schedule `{type(scheduler).__name__}` keeps tensors, which its checkpoints do not hold.")
    # one that shares memory with another, or is a view, is written in full
    save_file(
        {name: tensor.contiguous().clone() if _is_view(tensor) else tensor for name, tensor in tensors.items()},
        folder / OPTIMIZER,
    )
    (folder / TRAINING).write_text(json.dumps(training) + "\n", encoding="utf-8")
    (folder / "training_args.json").write_text(trainer.args.to_json_string() + "\n", encoding="utf-8")


def _is_view(tensor: Tensor) -> bool:
    return not tensor.is_contiguous() or tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size()


def this_process() -> dict[str, Any]:
    return saved_randomness()


def _saved_optimizer(trainer: Trainer, tensors: dict[str, Tensor]) -> dict[str, Any]:
    optimizer, names = inner_optimizer(trainer), names_of_parameters(trainer)
    groups, states = [], {}
    for place, group in enumerate(optimizer.param_groups):
        rest = {key: encode(value, f"group.{place}.{key}", tensors) for key, value in group.items() if key != "params"}
        groups.append({"params": [names.get(id(one), "") for one in group["params"]], "options": rest})
        for parameter in group["params"]:
            if parameter in optimizer.state:
                name = names.get(id(parameter))
                if name is None:
                    raise CheckpointError(
                        "The optimizer has a parameter that is none of the model's, so its state has no name."
                    )
                states[name] = {
                    key: encode(value, f"{name}:{key}", tensors) for key, value in optimizer.state[parameter].items()
                }
    return {"class": type(optimizer).__name__, "groups": groups, "states": states}


def _restore_optimizer(trainer: Trainer, saved: dict[str, Any], folder: Path) -> None:
    optimizer, names = inner_optimizer(trainer), names_of_parameters(trainer)
    if saved["class"] != type(optimizer).__name__:
        raise ConfigError(
            f"`{folder}` was made with `{saved['class']}`, and this run has `{type(optimizer).__name__}`: set `optim`."
        )
    mine = [[names.get(id(one), "") for one in group["params"]] for group in optimizer.param_groups]
    if mine != [group["params"] for group in saved["groups"]]:
        raise CheckpointError(f"`{folder}` was made with other trainable parameters than this model has.")
    tensors = load_tensors(folder / OPTIMIZER)
    for group, kept in zip(optimizer.param_groups, saved["groups"], strict=True):
        group.update({key: decode(value, tensors, trainer.args.device) for key, value in kept["options"].items()})
    by_name = {
        name: parameter for group in optimizer.param_groups for parameter in group["params"] if (name := names[id(parameter)])
    }
    # set as they are: `load_state_dict` would cast what an optimizer keeps in another precision than the parameter's
    for name, state in saved["states"].items():
        parameter = by_name[name]
        optimizer.state[parameter] = {key: decode(value, tensors, parameter.device) for key, value in state.items()}


def read_training(trainer: Trainer, folder: Path) -> Saved:
    """Read a whole checkpoint; the model and the rest are put back by the caller, in the order of the run.

    Raises: CorruptFileError; ConfigError when the data would be cut into other batches.
    """
    training = read_json(folder / TRAINING)
    if not isinstance(training, dict) or not {"optimizer", "scheduler", "position", "randomness"} <= training.keys():
        raise CorruptFileError(f"`{folder / TRAINING}` is not what a trainer writes.", path=str(folder / TRAINING))
    state = TrainerState.load_from_json(str(folder / STATE))
    position = Position(**training["position"])
    args = trainer.args
    asked = {"batch_size": trainer.train_batch_size, "processes": args.world_size, "order_seed": args.order_seed}
    changed = {name: (getattr(position, name), now) for name, now in asked.items() if getattr(position, name) != now}
    if args.ignore_data_skip:
        position.batch = 0
    elif changed and position.batch and not position.epoch_ended:
        said = ", ".join(f"`{name}` was {before} and is {now}" for name, (before, now) in changed.items())
        raise ConfigError(
            f"`{folder}` stands inside an epoch, and {said}: what it has seen cannot be told. Keep these, or set `ignore_data_skip=True` "
            "to begin the epoch anew."
        )
    return Saved(folder, state, position, training)
