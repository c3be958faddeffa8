"""How alike two vectors are: the measures that checkpoints name in `similarity_fn_name`. Higher is always more alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transept.errors import InputError

__all__ = ["SIMILARITY", "rows"]


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).transpose(-1, -2)


SIMILARITY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": _cosine,
    "dot": lambda a, b: a @ b.transpose(-1, -2),
    "euclidean": lambda a, b: -torch.cdist(a, b, p=2.0),
    "manhattan": lambda a, b: -torch.cdist(a, b, p=1.0),
}
"""By name: (n, dim) and (m, dim) to (n, m)."""


def rows(embeddings: Any) -> Tensor:
    """Embeddings as people have them (tensor, array, list of either; one vector or several) as a float tensor (n, dim).

    Raises: InputError
    """
    try:
        if isinstance(embeddings, list | tuple) and embeddings and isinstance(embeddings[0], Tensor):
            found = torch.stack(list(embeddings))
        else:
            found = torch.as_tensor(embeddings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"Embeddings are a tensor, an array or a list of vectors, not `{embeddings!r:.60}`.") from error
    found = found[None] if found.dim() == 1 else found
    if found.dim() != 2:
        raise InputError(f"Embeddings have the shape (n, dim) or (dim,), not {tuple(found.shape)}.")
    return found if found.is_floating_point() else found.float()
