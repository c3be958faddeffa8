"""Generation: one loop, its processors, stopping criteria and streamers. Further strategies are plugins."""

from . import processors, stopping, streamers, warpers
from .configuration import GenerationConfig
from .loop import run
from .mixin import GenerationMixin
from .processors import *  # noqa: F403
from .session import GenerationSession
from .stopping import *  # noqa: F403
from .streamers import *  # noqa: F403
from .warpers import *  # noqa: F403

__all__ = [  # noqa: PLE0604
    "GenerationConfig",
    "GenerationMixin",
    "GenerationSession",
    "run",
    *processors.__all__,
    *stopping.__all__,
    *streamers.__all__,
    *warpers.__all__,
]
