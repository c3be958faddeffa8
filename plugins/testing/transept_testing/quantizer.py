"""`QuantizerConformance`: every check of a quantizer."""

from __future__ import annotations

from .quantizers.files import FileChecks
from .quantizers.loading import LoadingChecks
from .quantizers.using import UseChecks

__all__ = ["QuantizerConformance"]


class QuantizerConformance(LoadingChecks, FileChecks, UseChecks, standard=True):
    """Subclass it in a quantizer's test file, with its `key`; see `docs/testing.md`.

    Small models of several architectures are quantized, saved, loaded and used. `QuantizerSuite` lists what a subclass may set.
    """
