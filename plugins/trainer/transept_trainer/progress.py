"""What a person sees: a progress bar with the live loss on a terminal, one line a log elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from .callbacks import TrainerCallback, TrainerControl, TrainerState

__all__ = ["PrinterCallback", "ProgressCallback", "has_terminal"]

_QUIET = ("total_flos",)


def has_terminal() -> bool:
    """Whether a bar can be drawn: stderr is a terminal, or this is a notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console().is_jupyter


def shown(logs: dict[str, Any]) -> str:
    """`loss 0.6931 · learning_rate 5e-05 · epoch 1`."""
    parts = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in logs.items()
        if name not in _QUIET
    )
    return " · ".join(parts)


class PrinterCallback(TrainerCallback):
    """One line a log, on stdout."""

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if state.is_local_process_zero and logs:
            sys.stdout.write(f"step {state.global_step}/{state.max_steps} · {shown(logs)}\n")
            sys.stdout.flush()


class ProgressCallback(TrainerCallback):
    """A bar of steps with the last step's loss; while evaluating, a second one. Logs go above it."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.training: Any = None
        self.evaluation: Any = None

    def _begin(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        if self.bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[loss]}"),
            )
            self.bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
            self.bar.start()
        return self.bar

    def _end_if_idle(self) -> None:
        if self.bar is not None and self.training is None and self.evaluation is None:
            self.bar.stop()
            self.bar = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            total = state.max_steps or None
            self.training = self._begin().add_task("Training", total=total, completed=state.global_step, loss="")

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.training is not None:
            loss = "" if state.live_loss is None else f"loss {state.live_loss:.4f}"
            self.bar.update(self.training, completed=state.global_step, loss=loss)

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if self.bar is not None and logs:
            self.bar.console.print(f"step {state.global_step} · {shown(logs)}", markup=False, highlight=False)

    def on_prediction_step(
        self, args: Any, state: TrainerState, control: TrainerControl, eval_dataloader: Any = None, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        if self.evaluation is None:
            try:
                total = len(eval_dataloader)
            except TypeError:
                total = None
            self.evaluation = self._begin().add_task("Evaluating", total=total, loss="")
        self.bar.update(self.evaluation, advance=1)

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.evaluation is not None:
            self.bar.remove_task(self.evaluation)
            self.evaluation = None
            self._end_if_idle()

    def on_predict(self, args: Any, state: TrainerState, control: TrainerControl, metrics: Any, **kwargs: Any) -> None:
        self.on_evaluate(args, state, control)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        """Stop drawing, whatever happened."""
        self.training = self.evaluation = None
        self._end_if_idle()
