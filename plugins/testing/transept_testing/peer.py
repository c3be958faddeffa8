"""The peer, Hugging Face Transformers, where it is installed: the library that ours is compared with."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["peer_class", "peer_library"]


def peer_library(suite: Any) -> Any:
    """The `transformers` module; skips the test where the suite names no peer, or it is not installed."""
    if suite.peer is None:
        pytest.skip(f"`{type(suite).__name__}.peer` names no class prefix of transformers to compare with")
    return pytest.importorskip("transformers", reason="transformers is not installed: nothing to compare with")


def peer_class(suite: Any, name: str) -> Any:
    """A class of the peer by name; its absence is a failure, since the suite says that there is one."""
    library = peer_library(suite)
    found = getattr(library, name, None)
    if found is None:
        pytest.fail(
            f"transformers {library.__version__} has no `{name}`. Either `peer` is wrong, or the class has another name there: "
            "override `peer_model_class(case)`."
        )
    return found
