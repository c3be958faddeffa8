"""Uploads: what `push_to_hub` and `hub_strategy` ask for. Each is finished before training goes on."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .folders import MANIFEST, TRAINING
from .notices import notice

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["push", "push_checkpoint"]

_OF_A_RUN = (MANIFEST, TRAINING, "optimizer.safetensors", "live.safetensors")
"""Files that go with a checkpoint, and not with a model."""


def _options(trainer: Trainer) -> dict[str, Any]:
    args = trainer.args
    name = args.hub_model_id or os.path.basename(os.path.abspath(args.output_dir))
    given = {"token": args.hub_token, "private": args.hub_private_repo, "revision": args.hub_revision}
    return {"repo_id": name, **{key: value for key, value in given.items() if value is not None}}


def push(trainer: Trainer, message: str, **options: Any) -> Any:
    """Upload the model in the output folder, without its checkpoints. Raises what the upload raises."""
    from .saving import save_model_to

    trainer.callback_handler.call("on_push_begin")
    folder = Path(trainer.args.output_dir) / ".hub"
    save_model_to(trainer, folder)
    if trainer.is_world_process_zero():
        return _upload(folder, {**_options(trainer), "commit_message": message, **options})
    return None


def push_checkpoint(trainer: Trainer, folder: Path) -> None:
    """After a save: upload as `hub_strategy` says. What fails is said, and training goes on."""
    strategy = str(trainer.args.hub_strategy)
    if strategy == "end":
        return
    trainer.callback_handler.call("on_push_begin")
    if not trainer.is_world_process_zero():
        return
    staged = Path(trainer.args.output_dir) / ".hub"
    shutil.rmtree(staged, ignore_errors=True)
    inside = {"every_save": None, "checkpoint": "last-checkpoint", "all_checkpoints": folder.name}[strategy]
    _link(folder, staged, skip=_OF_A_RUN)
    if inside is not None:
        _link(folder, staged / inside)
    try:
        _upload(staged, {**_options(trainer), "commit_message": f"Training in progress, step {trainer.state.global_step}"})
    except Exception as error:  # whatever a network and a service may raise
        notice(f"`{folder.name}` was not uploaded: {type(error).__name__}: {error}", logging.WARNING)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _link(source: Path, target: Path, skip: tuple[str, ...] = ()) -> None:
    """The files of a folder under other names, without copying them where the file system can do that."""
    for path in source.rglob("*"):
        if path.is_file() and path.name not in skip:
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, place)
            except OSError:
                shutil.copy2(path, place)


def _upload(folder: Path, options: dict[str, Any]) -> Any:
    from transept.files.hub import upload_folder

    return upload_folder(folder, **options)
