"""`Attention`: from a request to the kernel that serves it, chosen among the installed ones by what their records say."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..discovery import load_object, registry
from ..errors import AttentionError, InputError, PluginError, shorten
from .mask import MASK_KINDS, MaskSpec, is_one

if TYPE_CHECKING:
    from transept_hookspecs import AttentionKernelSpec

__all__ = ["Attention", "Explanation"]

Kernel = Callable[..., tuple[Tensor, Tensor | None]]

AUTO = "auto"


class Need(NamedTuple):
    """What a request asks of a kernel. `Attention.__call__` makes it, as a plain tuple, in this order."""

    masks: int
    """`MaskSpec.bits`."""
    grouped: bool
    head_dim: int
    dtype: torch.dtype
    device: str
    dropout: bool
    weights: bool
    softcap: bool
    sinks: bool
    gradients: bool

    def of_the_layer(self) -> Need:
        """What every request of this layer will need, whatever the batch and the options."""
        kinds = sum(1 << MASK_KINDS.index(kind) for kind in ("causal", "bidirectional", "prefix", "sliding_window", "chunk"))
        return self._replace(masks=self.masks & kinds, dropout=False, weights=False, gradients=False)


@dataclass(frozen=True)
class Explanation:
    """Who serves the last request of a layer that was not refused, and why the others don't."""

    kernel: str
    why: str
    others: dict[str, str]

    def __str__(self) -> str:
        return "\n".join([f"{self.kernel}: {self.why}", *(f"  not {name}: {why}" for name, why in self.others.items())])


class Attention:
    """The one call that attention layers make. Each layer holds its own, and keeps a kernel for each kind of request.

    Args:
        implementation: "auto": of the kernels that can serve a request, the one with the highest priority. Or a kernel's name.
        softcap: every request will have one, so `use` refuses a kernel without at once, before the first.
    """

    def __init__(self, implementation: str = AUTO, *, softcap: bool = False) -> None:
        self.implementation = implementation
        self._softcap = softcap

    @property
    def implementation(self) -> str:
        """The name asked for. Assigning one that cannot serve is refused at the next call; `use` refuses at once."""
        return self._implementation

    @implementation.setter
    def implementation(self, name: str) -> None:
        self._implementation = name
        self._kernels: dict[tuple[Any, ...], Kernel] = {}
        self._need: tuple[Any, ...] | None = getattr(self, "_need", None)

    def use(self, name: str) -> None:
        """Serve by this kernel from now on.

        Raises:
            AttentionError: it cannot run here, or lacks what this layer's requests so far need of any kernel.
            PluginNotFoundError, PluginImportError: it is not installed, or broken. All leave what was in force.
        """
        if name != AUTO:
            record = registry.get("attention", name)
            _refuse(record, None if self._need is None else Need(*self._need).of_the_layer())
            if self._softcap and not record.softcap:
                raise AttentionError(
                    f"`{name}` cannot serve this layer: it lacks a `softcap`. Choose another, or `auto`.",
                    kernel=name,
                    lacking=["a `softcap`"],
                )
            _load(record)
        self.implementation = name

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        mask: MaskSpec,
        scale: float | None = None,
        softcap: float | None = None,
        sinks: Tensor | None = None,
        dropout: float = 0.0,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; arguments and results as in `transept.attention.eager.eager_attention`.

        Raises:
            AttentionError: the kernel that was asked for lacks something this request needs, or no kernel has it.
            InputError: the mask is for other lengths or another batch.
        """
        queries, keys = query.shape, key.shape
        if queries[2] != mask.query_length or keys[2] != mask.key_length or value.shape[2] != keys[2]:
            raise InputError(
                f"The mask is for {mask.query_length} queries and {mask.key_length} keys, and there are {queries[2]} and {keys[2]}, "
                f"with {value.shape[2]} values. Make it from the cache as it is before this pass, for this layer."
            )
        if not is_one(mask.rows) and mask.rows != queries[0]:
            raise InputError(
                f"The mask is for {mask.rows} sequences, and there are {queries[0]}: give a row for each, or one for all."
            )
        bias = mask.bias
        if bias is not None and bias.dim() > 2 and bias.shape[-3] != 1 and bias.shape[-3] != queries[1]:
            raise InputError(
                f"The mask's bias is for {bias.shape[-3]} heads, and there are {queries[1]}: give each its own, or 1."
            )
        # while a graph is traced, numbers may be symbols: `index` and `not` make plain ones, which a kernel can be chosen by
        need = (
            mask.bits,
            index(queries[1]) != index(keys[1]),
            index(queries[3]),
            query.dtype,
            query.device.type,
            not dropout <= 0.0,
            need_weights,
            softcap is not None,
            sinks is not None,
            torch.is_grad_enabled()
            and (query.requires_grad or key.requires_grad or value.requires_grad or getattr(bias, "requires_grad", False)),
        )
        if torch.compiler.is_dynamo_compiling():
            kernel = getattr(_TRACED, _traced_kernel(self._implementation, *need))
        else:
            kernel = self._kernels.get(need) or self._bind(need, mask)
            self._need = need
        return kernel(
            query, key, value, mask=mask, scale=scale, softcap=softcap, sinks=sinks, dropout=dropout, need_weights=need_weights
        )

    def explain(self) -> Explanation:
        """Who serves a request like the last one, and why each other kernel doesn't."""
        if self._need is None:
            return Explanation(self._implementation, "asked for; there was no request yet", {})
        need = Need(*self._need)
        chosen = _negotiate(self._implementation, need)[0]
        others = {}
        for record in _by_priority():
            if record.key != chosen.key:
                others[record.key] = _why_not(record, need) or f"could, with priority {record.priority}"
        named = "asked for by name" if self._implementation != AUTO else f"the best that can, by priority {chosen.priority}"
        return Explanation(chosen.key, named, others)

    def _bind(self, need: tuple[Any, ...], mask: MaskSpec) -> Kernel:
        name = self._implementation
        # the layers of a pass share the mask, and through it the negotiation
        _, kernel = mask.memo(("kernel", name, need), lambda: _negotiate(name, Need(*need)))
        self._kernels[need] = kernel
        return kernel

    def __getstate__(self) -> dict[str, Any]:
        return {"_implementation": self._implementation, "_softcap": self._softcap}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.implementation, self._softcap = state["_implementation"], state["_softcap"]

    def __repr__(self) -> str:
        return f"Attention({self._implementation!r})"


class _Traced:
    """Kernels that compiled graphs call, as attributes: a tracer can follow those, and not a function that is handed to it."""


_TRACED = _Traced()


def _traced_kernel(name: str, *need: Any) -> str:
    """While a graph is traced: the attribute of `_TRACED` with the kernel, which is negotiated on the spot."""
    record, kernel = _negotiate(name, Need(*need))
    attribute = f"kernel_{record.key}"
    setattr(_TRACED, attribute, kernel)
    return attribute


# what `torch.compiler.assume_constant_result` does, without its import of the whole compiler, which takes as long as torch's own
_traced_kernel._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _negotiate(name: str, need: Need) -> tuple[AttentionKernelSpec, Kernel]:
    """The kernel that serves; raises AttentionError when none does."""
    if name != AUTO:
        record = registry.get("attention", name)
        _refuse(record, need)
        return record, _load(record)
    reasons = []
    for record in _by_priority():
        lacking = _lacking(record, need)
        try:
            unable = f"lacks {_listed(lacking)}" if lacking else _unable(record)
            if unable is None:
                return record, _load(record)
        except PluginError as error:
            unable = "does not load"
            _warn_once(record, str(error))
        reasons.append(f"`{record.key}` {unable}")
    raise AttentionError(
        f"No installed kernel can serve this request: {'; '.join(reasons) or 'there is none'}. See `transept plugins`.",
        need=need,
    )


def _by_priority() -> list[AttentionKernelSpec]:
    return sorted(registry.records("attention"), key=lambda record: (-record.priority, record.key))


def _load(record: AttentionKernelSpec) -> Kernel:
    kernel: Kernel = load_object(record.kernel, owner=registry.owner("attention", record.key))
    return kernel


def _refuse(record: AttentionKernelSpec, need: Need | None) -> None:
    unable = _unable(record)
    if unable is not None:
        raise AttentionError(f"`{record.key}` {unable}. Choose another, or `auto`.", kernel=record.key)
    lacking = [] if need is None else _lacking(record, need)
    if need is None or not lacking:
        return
    able = [other.key for other in _by_priority() if _why_not(other, need) is None]
    instead = f"These can: {shorten(able)}; or choose `auto`." if able else "No installed kernel can."
    raise AttentionError(
        f"`{record.key}` cannot serve this request: it lacks {_listed(lacking)}. {instead}",
        kernel=record.key,
        lacking=lacking,
        able=able,
    )


def _lacking(record: AttentionKernelSpec, need: Need) -> list[str]:
    """What the record lacks of what is needed, in words."""
    dtype = str(need.dtype).removeprefix("torch.")
    masks = [kind for place, kind in enumerate(MASK_KINDS) if need.masks >> place & 1 and kind not in record.masks]
    lacking = [f"the mask kind `{kind}`" for kind in masks]
    sizes = record.head_dims is None or need.head_dim in record.head_dims
    if not sizes or need.head_dim > (record.max_head_dim or need.head_dim):
        lacking.append(f"head_dim {need.head_dim}")
    if dtype not in record.dtypes:
        lacking.append(f"the dtype {dtype}")
    if record.devices is not None and need.device not in record.devices:
        lacking.append(f"the device {need.device}")
    for needed, offered, words in (
        (need.grouped, record.gqa, "fewer key than query heads (`gqa`)"),
        (need.dropout, record.dropout, "`dropout`"),
        (need.weights, record.weights, "the attention weights (`weights`, for `output_attentions`)"),
        (need.softcap, record.softcap, "a `softcap`"),
        (need.sinks, record.sinks, "`sinks`"),
        (need.gradients, record.training, "gradients (`training`)"),
    ):
        if needed and not offered:
            lacking.append(words)
    return lacking


def _unable(record: AttentionKernelSpec) -> str | None:
    """Why the kernel cannot run on this machine, or None. Raises PluginImportError when that cannot be asked."""
    if record.requires is None:
        return None
    owner = registry.owner("attention", record.key)
    ask = load_object(record.requires, owner=owner)
    try:
        reason = ask()
    except Exception as error:
        reason = f"`{record.requires}` of {owner} fails: {type(error).__name__}: {error}"
    return None if reason is None else f"cannot run here: {reason}"


def _why_not(record: AttentionKernelSpec, need: Need) -> str | None:
    lacking = _lacking(record, need)
    if lacking:
        return f"lacks {_listed(lacking)}"
    try:
        unable = _unable(record)
        _load(record)
    except PluginError as error:
        return f"does not load: {error}"
    return unable


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


_WARNED: set[tuple[str, str]] = set()


def _warn_once(record: AttentionKernelSpec, error: str) -> None:
    mark = (record.kernel, error)
    if mark not in _WARNED:
        _WARNED.add(mark)
        warnings.warn(
            f"The attention kernel `{record.key}` is passed over, as it does not load: {error}", RuntimeWarning, stacklevel=5
        )
