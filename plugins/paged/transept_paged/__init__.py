"""Paged attention (https://arxiv.org/abs/2309.06180): the cache `paged`, whose rows share blocks, and the kernel that reads them."""

from .cache import PagedCache, PagedLayer, make_paged
from .pool import BlockPool
from .states import PagedStates

__all__ = ["BlockPool", "PagedCache", "PagedLayer", "PagedStates", "make_paged"]
__version__ = "0.1.0"
