"""`MaskSpec`: which keys each query may see, said in symbols; each kernel turns it into the form that it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import InputError

__all__ = ["MaskSpec"]

T = TypeVar("T")


@dataclass(eq=False)
class MaskSpec:
    """The mask of one forward pass; what it names is taken together: a key is seen when every part lets it be seen.

    Query i sits at key index `query_offset + i`.

    Raises:
        InputError: a part has a shape that does not fit.
    """

    kind: Literal["causal", "bidirectional", "prefix"]
    """Keys up to the query's own place; all keys; or all of the first `prefix_length` keys and causal after them."""
    query_length: int
    key_length: int
    query_offset: int = 0
    """How many keys stand before the first query."""
    sliding_window: int | None = None
    """Keys nearer than this: `i - j < window`, and for bidirectional kinds `|i - j| < window`."""
    chunk: int | None = None
    """Keys of the query's own chunk: `i // chunk == j // chunk`."""
    keep: Tensor | None = None
    """(batch, key_length) bool: False hides a key from everyone, wherever it stands."""
    documents: Tensor | None = None
    """(batch, key_length) int: a query sees the keys of its own document."""
    prefix_length: Tensor | int | None = None
    """(batch,) int, or one for all."""
    bias: Tensor | None = None
    """Broadcastable to (batch, heads, query_length, key_length): float, added to the scores; or bool, False hides."""
    features: frozenset[str] = field(init=False, repr=False)
    """The mask kinds (see `transept_hookspecs.MaskKind`) that have an effect here."""
    _memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        # a window or chunk that reaches over all keys hides none
        if self.sliding_window is not None and self.sliding_window >= self.key_length:
            self.sliding_window = None
        if self.chunk is not None and self.chunk >= self.key_length:
            self.chunk = None
        found = [self.kind]
        for name in ("sliding_window", "chunk", "keep", "documents", "bias"):
            if getattr(self, name) is not None:
                found.append(name)  # type: ignore[arg-type]
        self.features = frozenset(found)
        for name in ("keep", "documents"):
            part = getattr(self, name)
            if part is not None and (part.dim() != 2 or part.shape[1] != self.key_length):
                raise InputError(f"`MaskSpec.{name}` has shape {tuple(part.shape)}; it must be (batch, {self.key_length}).")
        if self.kind == "prefix" and self.prefix_length is None:
            raise InputError("A mask of kind `prefix` needs `prefix_length`.")

    @property
    def is_plain_causal(self) -> bool:
        """Nothing but the triangle over queries and keys that are the same positions."""
        return self.kind == "causal" and len(self.features) == 1 and self.query_length == self.key_length

    @property
    def needs_mask(self) -> bool:
        """False when every query sees every key."""
        if len(self.features) > 1:
            return True
        if self.kind == "bidirectional":
            return False
        return not (self.query_length == 1 and self.query_offset == self.key_length - 1)

    @property
    def may_hide_whole_rows(self) -> bool:
        """Whether some query could be left without any key."""
        return not self.features.isdisjoint(("keep", "documents", "bias"))

    def materialize(self, device: torch.device | str = "cpu") -> Tensor | None:
        """The reference: (batch or 1, heads or 1, query_length, key_length) bool, True where a query sees a key.

        None when every query sees every key. A float `bias` is not in it: see `additive_bias`.
        """
        if not self.needs_mask:
            return None
        queries = (torch.arange(self.query_length, device=device) + self.query_offset)[:, None]
        keys = torch.arange(self.key_length, device=device)[None, :]
        seen = torch.ones((1, 1, self.query_length, self.key_length), dtype=torch.bool, device=device)
        if self.kind == "causal":
            seen = seen & (keys <= queries)
        elif self.kind == "prefix":
            prefix = torch.as_tensor(self.prefix_length, device=device).view(-1, 1, 1, 1)
            seen = seen & ((keys <= queries) | (keys < prefix))
        if self.sliding_window is not None:
            distance = queries - keys
            near = distance < self.sliding_window
            seen = seen & (near if self.kind == "causal" else near & (-distance < self.sliding_window))
        if self.chunk is not None:
            seen = seen & (queries // self.chunk == keys // self.chunk)
        if self.keep is not None:
            seen = seen & self.keep.to(device=device, dtype=torch.bool)[:, None, None, :]
        if self.documents is not None:
            documents = self.documents.to(device)
            own = documents[:, self.query_offset : self.query_offset + self.query_length]
            seen = seen & (own[:, None, :, None] == documents[:, None, None, :])
        if self.bias is not None and self.bias.dtype == torch.bool:
            seen = seen & self.bias.to(device)
        return seen

    @property
    def additive_bias(self) -> Tensor | None:
        """The float part, to be added to the scores."""
        return self.bias if self.bias is not None and self.bias.dtype != torch.bool else None

    def memo(self, key: Any, build: Callable[[], T]) -> T:
        """What a kernel made of this mask, made once per forward pass; `key` starts with the kernel's name."""
        try:
            return self._memo[key]
        except KeyError:
            made = self._memo[key] = build()
            return made


_TENSORS = ("keep", "documents", "bias")
_PLAIN = ("kind", "query_length", "key_length", "query_offset", "sliding_window", "chunk")


def _flatten(mask: MaskSpec) -> tuple[list[Any], tuple[Any, ...]]:
    whole = isinstance(mask.prefix_length, int)
    context = (*(getattr(mask, name) for name in _PLAIN), mask.prefix_length if whole else None)
    return [*(getattr(mask, name) for name in _TENSORS), None if whole else mask.prefix_length], context


def _unflatten(tensors: Any, context: tuple[Any, ...]) -> MaskSpec:
    *parts, prefix = tensors
    *plain, whole = context
    mask = MaskSpec(**dict(zip(_PLAIN, plain, strict=True)), prefix_length=whole if prefix is None else prefix)
    for name, part in zip(_TENSORS, parts, strict=True):
        # set after construction: tracing puts things here that have no shape to check
        setattr(mask, name, part)
    mask.features = frozenset((mask.kind, *(n for n in (*_TENSORS, "sliding_window", "chunk") if getattr(mask, n) is not None)))
    return mask


pytree.register_pytree_node(MaskSpec, _flatten, _unflatten, serialized_type_name="transept.attention.MaskSpec")
