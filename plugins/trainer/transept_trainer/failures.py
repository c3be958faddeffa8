"""When a batch fails: which one it was, and what was in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from transept.errors import InputError, TranseptError

from .loss import IGNORED

if TYPE_CHECKING:
    from .loop import TrainingRun

__all__ = ["NonFiniteLossError", "check_labels", "naming_the_batch", "not_finite"]


class NonFiniteLossError(TranseptError):
    """The loss, or the gradient, of a batch is no finite number. Fields: `step`, `epoch`, `batch`, `rows`, `loss`, `checkpoint`."""


def where(run: TrainingRun, number: int) -> tuple[str, dict[str, Any]]:
    """A batch in words, and as fields."""
    trainer, epoch = run.trainer, run.position.epoch
    find = getattr(run.loader, "rows_of", None)
    rows = list(find(number)) if find is not None else []
    shown = ", ".join(map(str, rows[:16])) + (", …" if len(rows) > 16 else "")
    text = f"step {trainer.state.global_step + 1}, epoch {epoch}, batch {number} of the epoch" + (
        f" (rows {shown})" if rows else ""
    )
    return text, {"step": trainer.state.global_step + 1, "epoch": epoch, "batch": number, "rows": rows}


@contextmanager
def naming_the_batch(run: TrainingRun, number: int) -> Iterator[None]:
    """Whatever is raised inside says which batch it was."""
    try:
        yield
    except InputError as error:
        text, fields = where(run, number)
        raise type(error)(f"{error} It happened in {text}.", **fields) from error
    except Exception as error:
        error.add_note(f"In {where(run, number)[0]}.")
        raise


def not_finite(run: TrainingRun, batch: Any, number: int, loss: float, norm: float, folder: Path) -> dict[str, Any]:
    """Message and fields of a `NonFiniteLossError`."""
    text, fields = where(run, number)
    what = f"The loss is {loss}" if not math.isfinite(loss) else f"The loss is {loss:.4g}, and the gradient's norm is {norm}"
    saved = f" The state before this step is in `{folder}`." if folder.is_dir() else ""
    hint = _suspicion(batch) or "Try a lower `learning_rate`, a longer `warmup_steps`, or `bf16` in place of `fp16`."
    message = f"{what} in {text}.{saved} {hint} `stop_on_nan=False` goes on regardless."
    return {"message": message, "loss": loss, "checkpoint": str(folder) if saved else None, **fields}


def _suspicion(batch: Any) -> str | None:
    if not isinstance(batch, Mapping):
        return None
    for name, value in batch.items():
        if isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            return f"`{name}` of the batch itself holds values that are no finite numbers."
    labels = batch.get("labels")
    if isinstance(labels, Tensor) and labels.numel() and bool(labels.eq(IGNORED).all()):
        return "No label of the batch counts: all are -100."
    return None


def check_labels(labels: Any, classes: int | None) -> None:
    """Refuse class ids that no class has, before they reach a device that would only say that it failed.

    Raises: InputError.
    """
    if classes is None or not isinstance(labels, Tensor) or labels.is_floating_point() or not labels.numel():
        return
    least, most = (int(value) for value in labels.aminmax())
    if most >= classes or (least < 0 and bool(((labels < 0) & (labels != IGNORED)).any())):
        wrong = most if most >= classes else least
        raise InputError(f"`labels` reach outside the {classes} classes, 0 to {classes - 1}: there is a {wrong}.")
