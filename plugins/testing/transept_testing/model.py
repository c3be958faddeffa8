"""`ModelConformance`: every check of an architecture's classes."""

from __future__ import annotations

from .models.outputs import OutputChecks

__all__ = ["ModelConformance"]


class ModelConformance(OutputChecks, standard=True):
    """Subclass it in a plugin's test file, with `model_type` and `tiny`; see `docs/testing.md`.

    Each test runs for every class that the plugin's record names. `ModelSuite` lists what a subclass may set.
    """
