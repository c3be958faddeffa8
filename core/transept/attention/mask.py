"""`MaskSpec`: which keys each query sees, as a description that every kernel turns into its own form."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree

from ..errors import InputError, did_you_mean

__all__ = ["MASK_KINDS", "MaskSpec"]

T = TypeVar("T")

MASK_KINDS = ("causal", "bidirectional", "prefix", "sliding_window", "chunk", "keep", "documents", "bias")
"""What a mask may be made of, as in kernel records; bit i of `MaskSpec.bits` stands for entry i."""
_PER_ROW = sum(1 << MASK_KINDS.index(kind) for kind in ("prefix", "keep", "documents", "bias"))


@dataclass(eq=False)
class MaskSpec:
    """Which keys each query of a forward pass sees. It is made once per pass and shared by the layers; change no field afterwards.

    Query i sits at key index `query_offset + i`. It sees what all parts allow:

    Args:
        kind: "causal": keys at its own index and before. "bidirectional": every key. "prefix": as causal, and the first
            `prefix_length` keys as well.
        query_length, key_length: sizes of the query and key tensors.
        query_offset: index of the first query among the keys; after a cache with n keys it is n.
        sliding_window: only keys less than this far away: itself and `sliding_window - 1` keys before it (and after it,
            unless causal).
        chunk: only keys of the query's own chunk of this size, counted from the row's first kept key.
        keep: BoolTensor (batch, key_length), False at keys that nobody sees: padding on either side, any holes.
        documents: integers (batch, key_length), the document that each key belongs to; a query sees its own document.
        prefix_length: for "prefix": keys, one number or LongTensor (batch,).
        bias: broadcastable to (batch, heads, query, key). Bool: True may be seen. Float: added to the scaled scores; -inf, and
            the lowest number of its dtype, hide a key altogether.

    A query that sees no key gets zeros from every kernel. No part is ever read back from an accelerator.

    Raises:
        InputError: parts that do not fit the lengths or each other.
    """

    kind: Literal["causal", "bidirectional", "prefix"]
    query_length: int
    key_length: int
    query_offset: int = 0
    sliding_window: int | None = None
    chunk: int | None = None
    keep: Tensor | None = None
    documents: Tensor | None = None
    prefix_length: Tensor | int | None = None
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        self._check()
        self._derive()

    @classmethod
    def causal(cls, query_length: int, key_length: int | None = None, **parts: Any) -> MaskSpec:
        """A decoder's mask. The queries are the last of the keys, unless `query_offset` is given; `parts` are other fields."""
        key_length = query_length if key_length is None else key_length
        return cls("causal", query_length, key_length, **{"query_offset": key_length - query_length, **parts})

    @classmethod
    def bidirectional(cls, query_length: int, key_length: int | None = None, **parts: Any) -> MaskSpec:
        """An encoder's mask, or with a `key_length` of its own that of cross-attention; `parts` are other fields."""
        return cls("bidirectional", query_length, query_length if key_length is None else key_length, **parts)

    @property
    def features(self) -> frozenset[str]:
        """The kinds that this mask is made of, as kernel records name them.

        A window or chunk counts from the first token on, whether it hides anything yet or not, so that a kernel without it is
        refused at once and not in the middle of a text.
        """
        return frozenset(kind for place, kind in enumerate(MASK_KINDS) if self.bits >> place & 1)

    @property
    def rows(self) -> int:
        """Sequences that it tells apart; 1: it is the same for any number of them."""
        return next((size for size in self._rows() if not is_one(size)), 1) if self.bits & _PER_ROW else 1

    def _rows(self) -> Iterator[int]:
        for tensor, dims in ((self.keep, 2), (self.documents, 2), (self.prefix_length, 1), (self.bias, 4)):
            if isinstance(tensor, Tensor) and tensor.dim() == dims:
                yield tensor.shape[0]

    def materialize(self, device: torch.device | str) -> Tensor | None:
        """The reference for all kinds and their intersections: which pairs may attend.

        Returns:
            BoolTensor (batch or 1, heads or 1, query, key), True where the query sees the key; None where all are seen.
        """
        seen = self._seen(torch.device(device))
        return None if seen is None else seen.expand(-1, -1, self.query_length, self.key_length)

    def hidden(self, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """What kernels start from, built once per pass: a softmax over what is not hidden is never empty.

        Returns:
            hidden: BoolTensor broadcastable to (batch, heads, query, key), True where the query must not see the key, but
                False throughout the rows that would see nothing; None: nothing is hidden.
            empty: BoolTensor (batch or 1, heads or 1, query or 1, 1), True at those rows, whose output must be zeros; None
                where there are none.
        """
        found: tuple[Tensor | None, Tensor | None] = self.memo(("hidden", str(device)), lambda: self._hidden(device))
        return found

    def blocks(self, size: int) -> Iterator[tuple[slice, slice, MaskSpec]]:
        """The mask in runs of queries, for kernels that would else hold all of it at once.

        Yields:
            which queries, at most `size`; which keys, all that they can see among them; the mask of those queries and keys. Runs of
            a window share their masks, whose forms are then built once.
        """
        for start in range(0, self.query_length, size):
            count = min(size, self.query_length - start)
            first, last = self._reach(self.query_offset + start, count)
            yield slice(start, start + count), slice(first, last), self._block(start, count, first, last)

    def memo(self, key: Hashable, build: Callable[[], T]) -> T:
        """A kernel's own form of this mask, built on the first call with `key`. Nothing that gradients flow through."""
        found: T | None = self._memo.get(key)
        if found is None:
            found = self._memo[key] = build()
        return found

    def _reach(self, place: int, count: int) -> tuple[int, int]:
        """Bounds of the keys that `count` queries from key index `place` on can see; never empty."""
        first, last = 0, self.key_length
        if self.kind == "prefix":
            return first, last
        if self.sliding_window is not None:
            first = place - self.sliding_window + 1
            last = min(last, place + count + self.sliding_window - 1)
        if self.chunk is not None:
            # where rows are counted from their first kept key, the keys before it are needed to find it
            first = 0 if self.keep is not None else max(first, place // self.chunk * self.chunk)
        if self.kind == "causal":
            last = min(last, place + count)
        first = min(max(first, 0), self.key_length - 1)
        return first - first % (self.chunk or 1), max(last, first + 1)

    def _block(self, start: int, count: int, first: int, last: int) -> MaskSpec:
        def build() -> MaskSpec:
            keep, documents = (None if part is None else part[:, first:last] for part in (self.keep, self.documents))
            bias = self.bias
            for dim, place, size in ((-2, start, count), (-1, first, last - first)):
                if bias is not None and bias.shape[dim] > 1:
                    bias = bias.narrow(dim, place, size)
            lengths: dict[str, Any] = {"query_length": count, "key_length": last - first, "query_offset": offset}
            return replace(self, **lengths, keep=keep, documents=documents, bias=bias)

        offset = self.query_offset + start - first
        if self.sliding_window is None or self.keep is not None or self.documents is not None or self.bias is not None:
            return build()
        return self.memo(("block", count, last - first, offset), build)

    def _hidden(self, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        seen = self._seen(device)
        if seen is None:
            return None, None
        if not self._may_be_empty:
            return ~seen, None
        empty = ~seen.any(-1, keepdim=True)
        if _is_readable(empty) and not bool(empty.any()):
            return ~seen, None
        return ~(seen | empty), empty

    def _seen(self, device: torch.device) -> Tensor | None:
        """As `materialize`, with a size of 1 where queries do not differ."""
        seen: Tensor | None = None
        for part in self._parts(device):
            seen = part if seen is None else seen & part
        return seen

    def _parts(self, device: torch.device) -> list[Tensor]:
        query = torch.arange(self.query_length, device=device)[:, None] + self.query_offset  # (query, 1)
        key = torch.arange(self.key_length, device=device)[None, None, None]  # (1, 1, 1, key)
        keep = None if self.keep is None else self.keep.to(device)
        parts = []
        if self._order_hides:
            parts.append((key <= query) | (key < self._prefix(device)) if self.kind == "prefix" else key <= query)
        if self._window_hides and self.sliding_window is not None:
            parts.append(key > query - self.sliding_window)
            if self.kind != "causal":
                parts.append(key < query + self.sliding_window)
        if self._chunk_hides and self.chunk is not None:
            first = 0 if keep is None else keep.to(torch.uint8).argmax(-1)[:, None, None, None]
            parts.append((query - first) // self.chunk == (key - first) // self.chunk)
        if keep is not None:
            parts.append(keep[:, None, None])
        if self.documents is not None:
            documents = self.documents.to(device)
            own = documents.narrow(1, self.query_offset, self.query_length)
            parts.append(own[:, None, :, None] == documents[:, None, None])
        if self.bias is not None:
            bias = self.bias.detach().to(device)
            seen = bias if bias.dtype == torch.bool else bias > torch.finfo(bias.dtype).min
            parts.append(seen[(None,) * (4 - seen.dim())])
        return parts

    def _prefix(self, device: torch.device) -> Tensor | int:
        length = 0 if self.prefix_length is None else self.prefix_length
        return length.to(device).view(-1, 1, 1, 1) if isinstance(length, Tensor) else length

    def _derive(self) -> None:
        """What follows from the lengths alone, so that a layer's call has nothing to work out.

        While a graph is traced, lengths may be symbols: `any` and `all` make plain bools of what they compare to.
        """
        causal, last = self.kind == "causal", self.query_offset + self.query_length
        bits = 1 << MASK_KINDS.index(self.kind)
        for place, part in enumerate((self.sliding_window, self.chunk, self.keep, self.documents, self.bias), start=3):
            bits |= (part is not None) << place
        self.bits: int = bits
        # comparing a symbol with a number would pin it: an exported model must serve every length
        symbolic = torch.compiler.is_exporting()
        reach = last if causal else max(last, self.key_length - self.query_offset)
        window, chunk = self.sliding_window, self.chunk
        self._window_hides: bool = window is not None and any((symbolic, reach > window))
        self._chunk_hides: bool = chunk is not None and any(
            (symbolic, self.keep is not None, self.key_length > chunk, last > chunk)
        )
        self._order_hides: bool = self.kind != "bidirectional" and any((self.query_length != 1, last != self.key_length))
        limited = self._window_hides or self._chunk_hides
        tensors = any(part is not None for part in (self.keep, self.documents, self.bias))
        self._may_be_empty: bool = self.keep is not None or self.bias is not None or all((limited, last > self.key_length))
        self.needs_mask: bool = self._order_hides or limited or tensors
        """False: every query sees every key."""
        self.is_square_causal: bool = all(
            (causal, not limited, not tensors, self.query_offset == 0, self.query_length == self.key_length)
        )
        """True: what torch calls `is_causal`, the lower triangle of a square, and nothing else."""
        self._memo: dict[Hashable, Any] = {}

    def _check(self) -> None:
        if self.kind not in MASK_KINDS[:3]:
            raise InputError(f"`{self.kind}` is no kind of mask.{did_you_mean(self.kind, MASK_KINDS[:3])}")
        if (self.prefix_length is not None) != (self.kind == "prefix"):
            raise InputError("`prefix_length` and `kind='prefix'` go together: give both, or neither.")
        for name in ("sliding_window", "chunk"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise InputError(f"`{name}` is {size}: it counts the query itself, so 1 is the least. None: no limit.")
        for name, tensor in (("keep", self.keep), ("documents", self.documents)):
            if tensor is not None and (tensor.dim() != 2 or tensor.shape[1] != self.key_length):
                raise InputError(
                    f"`{name}` has shape {tuple(tensor.shape)}, and the mask needs (batch, {self.key_length}): one for each key."
                )
        if self.keep is not None and self.keep.dtype != torch.bool:
            raise InputError(f"`keep` is {self.keep.dtype}, and has to be bool: convert it with `keep != 0`.")
        if self.documents is not None:
            if self.documents.is_floating_point():
                raise InputError(f"`documents` is {self.documents.dtype}, and has to be integers.")
            if self.query_offset + self.query_length > self.key_length:
                raise InputError(
                    f"`documents` needs a key for each query: there are {self.key_length} keys, and queries up to index "
                    f"{self.query_offset + self.query_length - 1}."
                )
        if self.bias is not None:
            self._check_bias(self.bias)
        rows = [size for size in self._rows() if not is_one(size)]
        if not torch.jit.is_tracing() and any(size != rows[0] for size in rows):
            raise InputError(
                f"Parts of the mask are for {' and for '.join(map(str, rows))} sequences: they must be for as many."
            )

    def _check_bias(self, bias: Tensor) -> None:
        if bias.dtype != torch.bool and not bias.is_floating_point():
            raise InputError(f"`bias` is {bias.dtype}: it is bool (True may be seen) or float (added to the scores).")
        if not (2 <= bias.dim() <= 4 and bias.shape[-2] in (1, self.query_length) and bias.shape[-1] in (1, self.key_length)):
            raise InputError(
                f"`bias` has shape {tuple(bias.shape)}, which does not broadcast to (batch, heads, {self.query_length}, "
                f"{self.key_length})."
            )


def is_one(size: int | torch.SymInt) -> bool:
    """A size is the number 1. A symbol in an exported graph is none, and asking it would pin it: a batch of one stands for any."""
    return isinstance(size, int | Tensor) and int(size) == 1


def _is_readable(tensor: Tensor) -> bool:
    """Its values may be looked at: no device has to be waited for, and no graph is being traced."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.jit.is_tracing()


_TENSORS = ("keep", "documents", "prefix_length", "bias")
_PLAIN = tuple(field.name for field in fields(MaskSpec) if field.name not in _TENSORS)


def _flatten(mask: MaskSpec) -> tuple[list[Any], list[Any]]:
    leaves = {name: value for name in _TENSORS if isinstance(value := getattr(mask, name), Tensor)}
    fixed = None if "prefix_length" in leaves else mask.prefix_length
    return list(leaves.values()), [list(leaves), fixed, *(getattr(mask, name) for name in _PLAIN)]


def _flatten_with_keys(mask: MaskSpec) -> tuple[list[tuple[Any, Any]], list[Any]]:
    leaves, context = _flatten(mask)
    return [(_pytree.GetAttrKey(name), leaf) for name, leaf in zip(context[0], leaves, strict=True)], context


def _unflatten(leaves: Iterable[Any], context: list[Any]) -> MaskSpec:
    mask = MaskSpec.__new__(MaskSpec)  # unchecked: while a pytree is mapped, a leaf may be anything
    names, mask.prefix_length, *plain = context
    for name, value in (*zip(_PLAIN, plain, strict=True), *zip(names, leaves, strict=True)):
        setattr(mask, name, value)
    for name in _TENSORS:
        if name not in names and name != "prefix_length":
            setattr(mask, name, None)
    mask._derive()
    return mask


_pytree.register_pytree_node(
    MaskSpec,
    _flatten,
    _unflatten,
    serialized_type_name="transept.attention.MaskSpec",
    flatten_with_keys_fn=_flatten_with_keys,
)
