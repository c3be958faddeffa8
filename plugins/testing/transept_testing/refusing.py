"""What must be refused, and by which error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["refused"]


@contextmanager
def refused(error: type[Exception], words: str, mend: str) -> Iterator[None]:
    """The block must raise `error` with a message that the pattern is found in; `mend` says what to do where it does not."""
    try:
        yield
    except error as found:
        assert re.search(words, str(found)), f"the {type(found).__name__} says {str(found)!r}, and not {words!r}: {mend}"
    except Exception as other:
        raise AssertionError(f"a {type(other).__name__} comes in place of a {error.__name__}: {mend}") from other
    else:
        pytest.fail(f"no {error.__name__} comes: {mend}")
