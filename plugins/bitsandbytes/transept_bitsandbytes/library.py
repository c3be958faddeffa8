"""bitsandbytes itself: imported when a layer is packed, and quietly."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transept.errors import QuantizationError

__all__ = ["library"]


def library() -> Any:
    """The `bitsandbytes` module.

    Raises:
        QuantizationError: it is not installed, or does not import.
    """
    loaded = sys.modules.get("bitsandbytes.nn")
    if loaded is not None:
        return sys.modules["bitsandbytes"]
    try:
        with _quiet("bitsandbytes.backends.cpu.ops"):  # it tells of a kernel that is not used here
            import bitsandbytes
            import bitsandbytes.nn
    except Exception as error:  # a broken native library raises whatever it likes
        missing = isinstance(error, ModuleNotFoundError) and error.name == "bitsandbytes"
        what = "is not installed" if missing else f"does not import ({type(error).__name__}: {error})"
        raise QuantizationError(
            f"The quantizer `bitsandbytes` needs the library `bitsandbytes`, which {what}: pip install --upgrade bitsandbytes"
        ) from error
    logging.getLogger("bitsandbytes.autograd._functions").addFilter(_ONCE)
    return bitsandbytes


class _Once(logging.Filter):
    """Lets a message through once: an 8-bit product says at each call that it casts its input."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self._seen
        self._seen.add(message)
        return new


_ONCE = _Once()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
