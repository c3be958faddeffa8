"""Which kernel serves an attention layer: asked once, and again only when the kind of request changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..discovery import load_object, registry
from ..errors import AttentionError, PluginError

if TYPE_CHECKING:
    from transept_hookspecs import AttentionKernelSpec

    from .mask import MaskSpec

__all__ = ["Attention", "Choice", "Need"]

Kernel = Callable[..., tuple[Tensor, Tensor | None]]


class Need(NamedTuple):
    """The kind of a request: all that decides whether a kernel can serve it."""

    masks: frozenset[str]
    gqa: bool
    head_dim: int
    dtype: torch.dtype
    device: str
    dropout: bool
    weights: bool
    softcap: bool
    sinks: bool
    training: bool


@dataclass
class Choice:
    """Who serves a layer, and why the others do not."""

    kernel: str
    why: str
    others: dict[str, str] = field(default_factory=dict)


class Attention:
    """What an attention layer holds: the name that was asked for, and the kernel that is bound.

    It is plain data and functions, so a model that holds it copies and pickles.
    """

    def __init__(self, implementation: str = "auto") -> None:
        self.implementation = implementation
        self._need: tuple[Any, ...] | None = None
        self._kernel: Kernel | None = None
        self._bound = ""
        self._offers: tuple[Offer, ...] = ()

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        mask: MaskSpec,
        scale: float,
        softcap: float | None = None,
        sinks: Tensor | None = None,
        dropout: float = 0.0,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: (batch, heads, queries, head_dim).
            key, value: (batch, kv_heads, keys, head_dim); `kv_heads` divides `heads`.
            mask, scale, softcap, sinks, dropout, need_weights: see `transept.attention.eager.eager_attention`.

        Returns:
            (batch, heads, queries, head_dim), and the probabilities (batch, heads, queries, keys) or None.

        Raises:
            AttentionError: the kernel that was named cannot serve this request; the message names the need that it lacks.
        """
        need = (
            mask.features,
            query.shape[1] != key.shape[1],
            query.shape[3],
            query.dtype,
            query.device.type,
            dropout > 0.0,
            need_weights,
            softcap is not None,
            sinks is not None,
            query.requires_grad,
        )
        if need != self._need:
            self._bind(Need(*need))
        assert self._kernel is not None
        return self._kernel(
            query, key, value, mask=mask, scale=scale, softcap=softcap, sinks=sinks, dropout=dropout, need_weights=need_weights
        )

    def prepare(self) -> None:
        """Load what may serve, so that a traced call (`torch.compile`) needs no lookup: one forward may be the first ever."""
        self._offers = _offers(self.implementation)

    def use(self, implementation: str | None) -> None:
        """Serve by this kernel from now on; "auto" or None: by the best that can.

        Raises:
            PluginNotFoundError: no installed plugin has it. AttentionError: it cannot run on this machine, or not with the
                heads, dtype or device of the last request. The layer keeps what it had.
        """
        name = implementation or "auto"
        if name != "auto":
            record = registry.get("attention", name)
            reason = _cannot_run(record)
            if reason is None and self._need is not None:
                last = Need(*self._need)
                reason = lacks(record, last._replace(masks=frozenset(), dropout=False, weights=False, training=False))
            if reason is not None:
                raise AttentionError(
                    f"Attention kernel `{name}` cannot serve this model here: {reason}. {_able(self._need)}", kernel=name
                )
            load_object(record.kernel, owner=_owner(name))
        self.implementation = name
        self._need = None
        self.prepare()

    def explain(self) -> Choice:
        """Who serves the last request, and why the others do not; before any request, what will be asked for."""
        if self._need is None:
            return Choice(
                self.implementation, "chosen by name" if self.implementation != "auto" else "decided at the first forward pass"
            )
        need = Need(*self._need)
        others: dict[str, str] = {}
        for record in registry.records("attention"):
            if record.key != self._bound:
                lower = "it has a lower priority" if self.implementation == "auto" else f"`{self._bound}` was asked for by name"
                others[record.key] = lacks(record, need) or _cannot_run(record) or lower
        why = "asked for by name" if self.implementation != "auto" else "the highest priority of those that serve this request"
        return Choice(self._bound, why, others)

    def _bind(self, need: Need) -> None:
        if not torch.compiler.is_compiling():
            self.prepare()
        refused = ""
        for offer in self._offers:
            reason = lacks(offer.record, need)
            if reason is None and offer.kernel is not None:
                self._kernel, self._bound, self._need = offer.kernel, offer.record.key, tuple(need)
                return
            refused += f" `{offer.record.key}`: {reason or offer.reason}."
        if self.implementation == "auto":
            raise AttentionError(
                f"No installed attention kernel serves this request.{refused or ' None is installed.'}", need=need
            )
        name = self.implementation
        raise AttentionError(
            f"Attention kernel {refused.strip()[:-1]}, which this request needs. {_able(need)}", kernel=name, need=need
        )


@dataclass(frozen=True)
class Offer:
    """A kernel that may serve, loaded; or why it is not."""

    record: AttentionKernelSpec
    kernel: Kernel | None
    reason: str | None = None


_skipped: set[str] = set()


def _offers(implementation: str) -> tuple[Offer, ...]:
    """The kernel of that name; for "auto" all, the highest priority first, and one that does not load is reported once."""
    if implementation != "auto":
        record = registry.get("attention", implementation)
        reason = _cannot_run(record)
        return (Offer(record, None if reason else load_object(record.kernel, owner=_owner(record.key)), reason),)
    found = []
    for record in sorted(registry.records("attention"), key=lambda record: -record.priority):
        kernel, reason = None, _cannot_run(record)
        if reason is None:
            try:
                kernel = load_object(record.kernel, owner=_owner(record.key))
            except PluginError as error:
                reason = str(error)
                if record.key not in _skipped:
                    _skipped.add(record.key)
                    warnings.warn(f"Attention kernel `{record.key}` is skipped: {error}")
        found.append(Offer(record, kernel, reason))
    return tuple(found)


def lacks(record: AttentionKernelSpec, need: Need) -> str | None:
    """What the request needs and the kernel's record does not offer, in words; None when it offers everything."""
    missing = need.masks - record.masks
    if missing:
        return f"it does not honour masks of kind {', '.join(f'`{kind}`' for kind in sorted(missing))}"
    for name, words in (
        ("gqa", "it wants as many key heads as query heads"),
        ("dropout", "it has no dropout"),
        ("weights", "it does not return attention weights"),
        ("softcap", "it has no soft cap of scores"),
        ("sinks", "it has no attention sinks"),
        ("training", "gradients do not flow through it"),
    ):
        if getattr(need, name) and not getattr(record, name):
            return words
    if str(need.dtype).removeprefix("torch.") not in record.dtypes:
        return f"it does not take {need.dtype}"
    if record.devices is not None and need.device not in record.devices:
        return f"it runs on {', '.join(sorted(record.devices))}, and the model is on {need.device}"
    if record.head_dims is not None and need.head_dim not in record.head_dims:
        return f"it does not take heads of {need.head_dim}"
    if record.max_head_dim is not None and need.head_dim > record.max_head_dim:
        return f"it takes heads up to {record.max_head_dim}, and these have {need.head_dim}"
    return None


def _cannot_run(record: AttentionKernelSpec) -> str | None:
    """Why the kernel cannot run on this machine, in its own words."""
    if record.requires is None:
        return None
    try:
        reason: str | None = load_object(record.requires, owner=_owner(record.key))()
    except Exception as error:
        return f"it does not load: {error}"
    return reason


def _owner(key: str) -> str:
    return " ".join(registry.dist_of("attention", key))


def _able(need: tuple[Any, ...] | None) -> str:
    """A sentence with the kernels that could serve instead."""
    records = registry.records("attention")
    able = [r.key for r in records if (need is None or lacks(r, Need(*need)) is None) and _cannot_run(r) is None]
    return f"Use {' or '.join(f'`{key}`' for key in sorted(able))}, or `auto`." if able else "No installed kernel can."
