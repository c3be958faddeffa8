"""Callbacks: the events of a run, the state that they see, and the control through which they steer.

The sixteen events, their order and their arguments are the peer's. Each is called as
`callback.on_…(args, state, control, model=…, processing_class=…, optimizer=…, lr_scheduler=…, train_dataloader=…, eval_dataloader=…)`,
some with `metrics` or `logs`. A callback that changes `control` may return it, and need not.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self

from transept.discovery import registry
from transept.errors import CorruptFileError, InputError
from transept.files import atomic_write_text, read_json

__all__ = [
    "EVENTS",
    "CallbackHandler",
    "ExportableState",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
]

EVENTS = (
    "on_init_end",
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_step_begin",
    "on_pre_optimizer_step",
    "on_optimizer_step",
    "on_substep_end",
    "on_step_end",
    "on_evaluate",
    "on_predict",
    "on_save",
    "on_log",
    "on_prediction_step",
    "on_push_begin",
)


class ExportableState:
    """What can be saved with a checkpoint and come back: implement `state`, as `{"args": …, "attributes": …}` of plain values.

    `args` are the constructor's arguments, `attributes` what changed since. A resumed run gives the attributes to the callback that
    it was handed; with `restore_callback_states_from_checkpoint` the arguments come from the checkpoint too.
    """

    def state(self) -> dict[str, Any]:
        raise NotImplementedError(f"`{type(self).__name__}` is an `ExportableState`, so it must have a `state`.")

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls(**state["args"])
        for name, value in state["attributes"].items():
            setattr(made, name, value)
        return made


@dataclass
class TrainerState:
    """How far a run is; `trainer_state.json` of a checkpoint holds it. A step is one step of the optimizer.

    `epoch` counts parts of an epoch too. `logging_steps`, `eval_steps`, `save_steps` are the arguments with shares of the whole made
    into steps. `total_flos` is an estimate: six operations a token and parameter.
    """

    epoch: float = 0.0
    global_step: int = 0
    max_steps: int = 0
    logging_steps: float = 500
    eval_steps: float = 500
    save_steps: float = 500
    train_batch_size: int | None = None
    num_train_epochs: int = 0
    num_input_tokens_seen: int = 0
    total_flos: float = 0
    log_history: list[dict[str, Any]] = field(default_factory=list)
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    is_hyper_param_search: bool = False
    trial_name: str | None = None
    trial_params: dict[str, Any] | None = None
    stateful_callbacks: dict[str, Any] = field(default_factory=dict)

    live_loss: ClassVar[float | None] = None
    """Loss of the last step, for progress bars; no part of what is saved."""

    def save_to_json(self, json_path: str) -> None:
        atomic_write_text(json_path, json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    @classmethod
    def load_from_json(cls, json_path: str) -> Self:
        """Raises: CorruptFileError when the file is no such state."""
        found = read_json(json_path)
        if not isinstance(found, dict):
            raise CorruptFileError(f"`{json_path}` holds no trainer state.", path=json_path)
        names = {each.name for each in fields(cls)}
        state = cls(**{name: value for name, value in found.items() if name in names})
        state.log_history = list(state.log_history or [])
        state.stateful_callbacks = dict(state.stateful_callbacks or {})
        return state

    def compute_steps(self, args: Any, max_steps: int) -> None:
        """Take the intervals from the arguments; a share of the whole becomes a number of steps."""
        for kind in ("logging_steps", "eval_steps", "save_steps"):
            value = getattr(args, kind)
            if value is not None:
                setattr(self, kind, math.ceil(max_steps * value) if 0 < value < 1 else value)


@dataclass
class TrainerControl(ExportableState):
    """What callbacks set to steer: the loop reads it after each event, and clears what it has done."""

    should_training_stop: bool = False
    should_epoch_stop: bool = False
    should_save: bool = False
    should_evaluate: bool = False
    should_log: bool = False

    def state(self) -> dict[str, Any]:
        return {"args": asdict(self), "attributes": {}}


class TrainerCallback:
    """Base of callbacks: override the events that matter."""

    def on_init_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """The trainer is made."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Training begins."""

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Training ended."""

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An epoch begins."""

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An epoch ended."""

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A step begins; with gradient accumulation it has several batches."""

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Gradients are complete and clipped; the optimizer has not stepped."""

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """The optimizer stepped; gradients are still there."""

    def on_substep_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A batch is done that is not the last of its step."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A step ended."""

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An evaluation ended; `metrics` has its results."""

    def on_predict(self, args: Any, state: TrainerState, control: TrainerControl, metrics: Any, **kwargs: Any) -> Any:
        """A prediction ended."""

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A checkpoint was written."""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """Something was logged: `logs`."""

    def on_prediction_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A batch was predicted or evaluated."""

    def on_push_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An upload to the hub begins."""


class CallbackHandler:
    """Calls each event on the callbacks that have something to say about it, in order."""

    def __init__(self, trainer: Any, callbacks: Iterable[type[TrainerCallback] | TrainerCallback]) -> None:
        self.trainer = trainer
        self.train_dataloader: Any = None
        self.eval_dataloader: Any = None
        self.callbacks: list[TrainerCallback] = []
        self._listeners: dict[str, list[TrainerCallback]] = {}
        for callback in callbacks:
            self.add_callback(callback)

    def add_callback(self, callback: type[TrainerCallback] | TrainerCallback) -> None:
        made = callback() if isinstance(callback, type) else callback
        if not isinstance(made, TrainerCallback) and not any(callable(getattr(made, event, None)) for event in EVENTS):
            raise InputError(f"`{type(made).__name__}` is no callback: derive it from `TrainerCallback`.")
        if type(made) in map(type, self.callbacks):
            warnings.warn(f"There is a `{type(made).__name__}` among the callbacks already; both will be called.", stacklevel=3)
        self.callbacks.append(made)
        self._listeners.clear()

    def pop_callback(self, callback: type[TrainerCallback] | TrainerCallback) -> TrainerCallback | None:
        """Remove the first that is this one, or of this class; None when there is none."""
        for each in self.callbacks:
            if (isinstance(each, callback)) if isinstance(callback, type) else each is callback:
                self.callbacks.remove(each)
                self._listeners.clear()
                return each
        return None

    def exportable(self) -> list[Any]:
        return [callback for callback in self.callbacks if isinstance(callback, ExportableState)]

    def _listening(self, event: str) -> list[TrainerCallback]:
        """Those whose class, or instance, has an event of its own: the others are not called at all."""
        if event not in self._listeners:
            silent = getattr(TrainerCallback, event)
            self._listeners[event] = [
                callback
                for callback in self.callbacks
                if getattr(getattr(callback, event, silent), "__func__", None) is not silent and hasattr(callback, event)
            ]
        return self._listeners[event]

    def call(self, event: str, **more: Any) -> TrainerControl:
        """Call an event; the control that comes back is the trainer's from then on."""
        trainer = self.trainer
        args, state, control = trainer.args, trainer.state, trainer.control
        if event == "on_step_begin":
            control.should_log = control.should_evaluate = control.should_save = False
        elif event == "on_epoch_begin":
            control.should_epoch_stop = False
        elif event == "on_train_begin":
            control.should_training_stop = False
        listening = self._listening(event)
        if listening:
            kwargs = {
                "model": trainer.model,
                "processing_class": trainer.processing_class,
                "optimizer": trainer.optimizer,
                "lr_scheduler": trainer.lr_scheduler,
                "train_dataloader": self.train_dataloader,
                "eval_dataloader": self.eval_dataloader,
                **more,
            }
            for callback in listening:
                result = getattr(callback, event)(args, state, control, **kwargs)
                if result is not None:
                    control = trainer.control = result
        registry.notify("training_event", trainer=trainer, event=event, state=state)
        return control
