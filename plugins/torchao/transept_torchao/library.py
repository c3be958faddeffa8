"""torchao itself: imported when it is asked for, and quietly."""

from __future__ import annotations

import logging
import sys
from typing import Any

from transept.errors import QuantizationError

__all__ = ["library"]


def library() -> Any:
    """The `torchao` module, with `torchao.quantization` loaded.

    Raises:
        QuantizationError: it is not installed, or does not import.
    """
    if sys.modules.get("torchao.quantization") is not None:
        return sys.modules["torchao"]
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it tells of each native library that is for other machines
    try:
        import torchao
        import torchao.quantization
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "torchao"
        what = "is not installed" if missing else f"does not import ({type(error).__name__}: {error})"
        raise QuantizationError(
            f"The quantizer `torchao` needs the library `torchao`, which {what}: pip install --upgrade torchao"
        ) from error
    finally:
        logging.disable(before)
    return torchao
