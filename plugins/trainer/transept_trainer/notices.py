"""One line to the user, on stderr through the logger `transept_trainer`, unless the program has set up logging of its own."""

from __future__ import annotations

import logging
import sys
from typing import Any

__all__ = ["logger", "notice", "set_level"]

logger = logging.getLogger("transept_trainer")

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50, "passive": 20}


class _Stderr(logging.StreamHandler[Any]):
    """Writes to whatever stderr is now; silent where the root logger has handlers, which get the line anyway."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            self.stream = sys.stderr
            super().emit(record)


def set_level(level: str) -> None:
    """`passive` is `info`: what the trainer has to say is little."""
    logger.setLevel(_LEVELS[level])


def notice(text: str, level: int = logging.INFO) -> None:
    if not logger.handlers:
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    logger.log(level, text)
