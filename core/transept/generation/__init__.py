"""Generation: one loop, its processors, stopping criteria and streamers. Further strategies are plugins."""

from . import processors, stopping, streamers
from .configuration import GenerationConfig
from .mixin import GenerationMixin
from .processors import *  # noqa: F403
from .session import GenerationSession
from .stopping import *  # noqa: F403
from .strategies import run
from .streamers import *  # noqa: F403

__all__ = ["GenerationConfig", "GenerationMixin", "GenerationSession", "run"]
__all__ += processors.__all__ + stopping.__all__ + streamers.__all__
