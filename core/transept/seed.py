"""One seed for every source of randomness."""

import random
import sys

__all__ = ["set_seed"]


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seed Python, torch on all devices and, where a program uses it, numpy.

    Args:
        seed: from 0 to 2**32 - 1, the range that all three share.
        deterministic: also have torch refuse operations without a deterministic implementation.
    """
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed)
    if deterministic:
        torch.use_deterministic_algorithms(True)
