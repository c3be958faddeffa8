"""The part of `Trainer` that writes things down: logs, metrics, models; and that calls callbacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from transept.files import atomic_write_text, read_json

from .callbacks import CallbackHandler, TrainerCallback, TrainerControl, TrainerState
from .hub import push
from .logbook import Logbook
from .notices import notice
from .saving import save_model_to
from .tracking import Trackers

if TYPE_CHECKING:
    from accelerate import Accelerator

    from .arguments import TrainingArguments

__all__ = ["Recording"]


class Recording:
    """Logs, files and callbacks; a `Trainer` has the attributes."""

    if TYPE_CHECKING:
        args: TrainingArguments
        model: nn.Module
        accelerator: Accelerator
        state: TrainerState
        control: TrainerControl
        logbook: Logbook
        trackers: Trackers
        callback_handler: CallbackHandler
        is_in_train: bool

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """Write numbers down: in the state, `log.jsonl`, the trackers, and whatever callbacks do."""
        if self.is_in_train or self.state.global_step:
            logs["epoch"] = self.state.epoch
        if self.args.include_num_input_tokens_seen != "no":
            logs["num_input_tokens_seen"] = self.state.num_input_tokens_seen
        entry = {**logs, "step": self.state.global_step}
        self.state.log_history.append(entry)
        if self.is_world_process_zero():
            self.logbook.add(entry)
            self.trackers.log(logs, self.state.global_step)
        self.callback_handler.call("on_log", logs=dict(logs))
        self.control.should_log = False

    def log_metrics(self, split: str, metrics: dict[str, Any]) -> None:
        """Print metrics as a column."""
        if self.is_world_process_zero():
            widest = max(map(len, metrics), default=0)
            lines = [
                f"  {name:<{widest}} = {value:.4f}" if isinstance(value, float) else f"  {name:<{widest}} = {value}"
                for name, value in sorted(metrics.items())
            ]
            notice("\n".join([f"***** {split} metrics *****", *lines]))

    def save_metrics(self, split: str, metrics: dict[str, Any], combined: bool = True) -> None:
        """Write `SPLIT_results.json`, and with `combined` add to `all_results.json`."""
        if not self.is_world_process_zero():
            return
        folder = Path(self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / f"{split}_results.json", json.dumps(metrics, indent=4, sort_keys=True) + "\n")
        if combined:
            path = folder / "all_results.json"
            before = read_json(path) if path.exists() else {}
            atomic_write_text(path, json.dumps({**before, **metrics}, indent=4, sort_keys=True) + "\n")  # type: ignore[dict-item]

    def save_state(self) -> None:
        """Write `trainer_state.json` into the output folder."""
        if self.is_world_process_zero():
            Path(self.args.output_dir).mkdir(parents=True, exist_ok=True)
            self.state.save_to_json(str(Path(self.args.output_dir) / "trainer_state.json"))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model and its tokenizer, as `from_pretrained` reads them."""
        save_model_to(self, self.args.output_dir if output_dir is None else output_dir)

    def push_to_hub(self, commit_message: str = "End of training", **kwargs: Any) -> Any:
        """Upload the model and its tokenizer."""
        return push(self, commit_message, **kwargs)

    def checkpoint_folder(self, step: int) -> Path:
        return Path(self.args.output_dir) / f"checkpoint-{step}"

    def unwrapped_model(self) -> nn.Module:
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def add_callback(self, callback: type[TrainerCallback] | TrainerCallback) -> None:
        self.callback_handler.add_callback(callback)

    def pop_callback(self, callback: type[TrainerCallback] | TrainerCallback) -> TrainerCallback | None:
        """Remove a callback, and return it."""
        return self.callback_handler.pop_callback(callback)

    def remove_callback(self, callback: type[TrainerCallback] | TrainerCallback) -> None:
        self.callback_handler.pop_callback(callback)

    def is_local_process_zero(self) -> bool:
        return self.args.local_process_index == 0

    def is_world_process_zero(self) -> bool:
        return self.args.process_index == 0

    def end(self) -> None:
        """Finish trackers and processes; the last call of a script with several processes."""
        self.trackers.finish()
        self.accelerator.end_training()
