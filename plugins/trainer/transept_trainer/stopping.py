"""SIGTERM, as clusters send it before they take a machine away: the step is finished, the run saved, and the signal let through."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .notices import notice

__all__ = ["stopping_on_sigterm"]


@contextmanager
def stopping_on_sigterm(*, enabled: bool) -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGTERM has come. When the block has ended, what would have happened without us happens.

    Only the main thread can hear signals; elsewhere, and where it is not enabled, nothing changes.
    """
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = False

    def on_signal(number: int, frame: Any) -> None:
        nonlocal came
        if not came:
            came = True
            notice("SIGTERM: saving after this step, then stopping.")

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
    if came:
        os.kill(os.getpid(), signal.SIGTERM)
