"""Saving a run, keeping as many checkpoints as are wanted, and going back to the best one."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transept.discovery import registry

from .checkpoint import STATE, Position, this_process, write_training
from .folders import rotate, written_whole
from .hub import push_checkpoint
from .names import SaveStrategy
from .notices import notice
from .weights import load_weights, save_weights, write_model

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["load_best_model", "save_checkpoint", "save_model_to"]


def save_checkpoint(trainer: Trainer, position: Position, *, rotating: bool = True) -> None:
    """Write `checkpoint-STEP`, whole or not at all, and remove what is beyond `save_total_limit`."""
    args, state = trainer.args, trainer.state
    randomness = [this_process()]
    if args.world_size > 1:
        from accelerate.utils import gather_object

        randomness = gather_object(randomness)
    folder = trainer.checkpoint_folder(state.global_step)
    if state.best_global_step == state.global_step:
        state.best_model_checkpoint = str(folder)
    if args.should_save:
        for callback in [*trainer.callback_handler.exportable(), trainer.control]:
            state.stateful_callbacks[type(callback).__name__] = copy.deepcopy(callback.state())
        with written_whole(folder) as temporary:
            model = trainer.unwrapped_model()
            if args.save_only_model:
                write_model(model, temporary)
            else:
                save_weights(model, temporary)
                write_training(trainer, temporary, replace(position), randomness)
            _save_processing(trainer, temporary)
            state.save_to_json(str(temporary / STATE))
        registry.notify("model_saved", model=model, folder=str(folder))
        trainer.logbook.draw(state.log_history)
        if rotating:
            rotate(args.output_dir, args.save_total_limit, state.best_model_checkpoint if _keeps_best(trainer) else None)
    trainer.accelerator.wait_for_everyone()
    if args.push_to_hub:
        push_checkpoint(trainer, folder)


def _keeps_best(trainer: Trainer) -> bool:
    args = trainer.args
    return args.load_best_model_at_end or args.save_strategy == SaveStrategy.BEST or args.metric_for_best_model is not None


def _save_processing(trainer: Trainer, folder: Path) -> None:
    save = getattr(trainer.processing_class, "save_pretrained", None)
    if callable(save):
        save(folder)


def save_model_to(trainer: Trainer, folder: str | Path, state_dict: Any = None) -> None:
    """The model and what processes its inputs, as `from_pretrained` reads them."""
    if trainer.args.should_save:
        write_model(trainer.unwrapped_model(), Path(folder), state_dict)
        _save_processing(trainer, Path(folder))
        (Path(folder) / "training_args.json").write_text(trainer.args.to_json_string() + "\n", encoding="utf-8")
        registry.notify("model_saved", model=trainer.unwrapped_model(), folder=str(folder))
    trainer.accelerator.wait_for_everyone()


def load_best_model(trainer: Trainer) -> None:
    """Put the best checkpoint's weights into the model."""
    best = trainer.state.best_model_checkpoint
    if best is None or not Path(best).is_dir():
        notice("No checkpoint is known as the best one, so the model stays as it is at the end.")
        return
    load_weights(trainer.unwrapped_model(), Path(best))
