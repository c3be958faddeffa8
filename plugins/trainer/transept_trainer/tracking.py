"""Trackers of experiments, through accelerate. One that fails is left out from then on; training goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from transept.errors import ConfigError, did_you_mean

from .notices import notice

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Trackers", "tracker_names"]

_PACKAGES = {"comet_ml": "comet-ml", "trackio": "trackio"}


def tracker_names(report_to: Sequence[Any]) -> list[Any]:
    """Trackers as accelerate takes them. Raises: ConfigError for one that is not known, or not installed."""
    if not report_to:
        return []
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

    known = sorted(map(str, LOGGER_TYPE_TO_CLASS))
    installed = {str(each) for each in get_available_trackers()}
    found: list[Any] = []
    for each in report_to:
        name = str(each)
        if isinstance(each, GeneralTracker):
            found.append(each)
        elif name == "all":
            found += [one for one in sorted(installed) if one not in found]
        elif name not in known:
            raise ConfigError(
                f"`report_to` names `{name}`, which is no tracker.{did_you_mean(name, known)} Known: {', '.join(known)}."
            )
        elif name not in installed:
            raise ConfigError(f"`report_to` names `{name}`, which is not installed: pip install {_PACKAGES.get(name, name)}.")
        else:
            found.append(name)
    return found


class Trackers:
    """The trackers of a run, begun with its first log."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.running: list[Any] | None = None

    def log(self, values: dict[str, Any], step: int) -> None:
        if self.running is None:
            self._start()
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float | str)}
        for tracker in list(self.running or ()):
            self._attempt(tracker, lambda each: each.log(numbers, step=step))

    def finish(self) -> None:
        for tracker in list(self.running or ()):
            self._attempt(tracker, lambda each: each.finish())
        self.running = None

    def _start(self) -> None:
        self.running = []
        trainer, accelerator = self.trainer, self.trainer.accelerator
        if not accelerator.log_with or not accelerator.is_main_process:
            return
        asked = list(accelerator.log_with)
        for each in asked:
            accelerator.log_with, accelerator.trackers = [each], []
            options = {"wandb": {"name": trainer.args.run_name}} if trainer.args.run_name else {}
            try:
                accelerator.init_trackers(trainer.args.project, trainer.args.to_sanitized_dict(), init_kwargs=options)
            except Exception as error:  # whatever a service and its client may raise
                self._leave_out(str(getattr(each, "name", each)), error)
            else:
                self.running += accelerator.trackers
        accelerator.log_with, accelerator.trackers = asked, self.running

    def _attempt(self, tracker: Any, call: Callable[[Any], Any]) -> None:
        try:
            call(tracker)
        except Exception as error:  # whatever a service and its client may raise
            self._leave_out(tracker.name, error)
            if self.running is not None and tracker in self.running:
                self.running.remove(tracker)

    @staticmethod
    def _leave_out(name: str, error: Exception) -> None:
        notice(f"The tracker `{name}` failed and is left out from here on: {type(error).__name__}: {error}", logging.WARNING)
