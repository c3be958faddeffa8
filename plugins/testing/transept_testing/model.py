"""`ModelConformance`: every check of an architecture's classes."""

from __future__ import annotations

from .models.attention import AttentionChecks
from .models.copies import CopyChecks
from .models.graphs import GraphChecks
from .models.outputs import OutputChecks
from .models.parity import PeerChecks
from .models.refusals import RefusalChecks
from .models.saving import SavingChecks
from .models.ties import TieChecks
from .models.training import TrainingChecks

__all__ = ["ModelConformance"]


class ModelConformance(
    OutputChecks,
    AttentionChecks,
    TrainingChecks,
    CopyChecks,
    SavingChecks,
    TieChecks,
    RefusalChecks,
    PeerChecks,
    GraphChecks,
    standard=True,
):
    """Subclass it in a plugin's test file, with `model_type` and `tiny`; see `docs/testing.md`.

    Each test runs for every class that the plugin's record names. `ModelSuite` lists what a subclass may set.
    """
