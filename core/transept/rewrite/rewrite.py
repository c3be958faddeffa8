"""What a rewrite is, and what is remembered of one that was applied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from ..discovery import load_object, registry
from ..errors import RewriteError, TranseptError, shorten
from .tensors import local_tensors

__all__ = ["AppliedRewrite", "Rewrite", "automatic_rewrites", "make_rewrite"]

Change = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]


class StoredTensor(Protocol):
    """What is known of a checkpoint's tensor before it is read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype | None: ...


class Rewrite(ABC):
    """A change of modules. Subclass it, give it a `key`, and offer it through a `RewriteSpec` or pass it to `from_pretrained`.

    Tensor names are local: relative to the selected module (`q_proj.weight`).
    """

    key: ClassVar[str]
    why: ClassVar[str] = ""
    """One line for `transept explain`: what it is good for."""
    order: ClassVar[int] = 0
    """Rewrites compose from the lowest to the highest; a later one sees the modules that an earlier one built."""
    undoable: ClassVar[bool] = False
    """`revert` gives back exactly what `convert` took."""
    optional: ClassVar[bool] = False
    """It fits whatever it finds: selecting nothing is no error, and it gives way to a rewrite that belongs below it."""
    packs: ClassVar[bool] = False
    """What it made is what is saved: a quantizer. `revert` gives the original's shape back, not its bits."""
    leaves: frozenset[str] = frozenset()
    """Paths that it must not take: a load says so of task heads that the checkpoint lacks, which start anew."""
    stored_metadata: Mapping[str, str] = {}
    """What the headers of the files that are loaded say; set by a load, for one that packs."""
    ties: ClassVar[Literal["keep", "break", "refuse"]] = "keep"
    """Tied parameters that it converts stay one tensor, become two, or such a model is refused."""

    def prepare(self, model: nn.Module) -> None:  # noqa: B027 (most have nothing to look at)
        """Look at the model as a whole, once, before any module of it is asked for."""

    def look_at(self, tensors: Mapping[str, StoredTensor]) -> None:  # noqa: B027 (most have nothing to look at)
        """Look at a checkpoint's tensors before `prepare`, with and without the base model's prefix: asked of rewrites that pack, at a load."""

    @abstractmethod
    def select(self, path: str, module: nn.Module) -> bool:
        """Whether to replace the module at this path. Parts of a selected module are not asked for."""

    @abstractmethod
    def build(self, module: nn.Module, path: str) -> nn.Module:
        """What stands in its place. Called under `torch.device("meta")`; parts of `module` that do not change may be shared."""

    def sources(self, module: nn.Module, built: nn.Module) -> tuple[str, ...]:
        """Names of the tensors that `convert` takes; by default those that the built module lacks, or has otherwise."""
        new = local_tensors(built)
        return tuple(name for name, tensor in local_tensors(module).items() if name not in new or not _alike(tensor, new[name]))

    @abstractmethod
    def convert(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        """The built module's tensors, from those that `sources` names."""

    def revert(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        """The other way round; views of the tensors given are fine."""
        raise RewriteError(f"Rewrite `{self.key}` cannot be taken back.", key=self.key)

    # -- files, for a rewrite that packs -------------------------------------------------------------------------------

    def stored(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        """What files hold in place of the built module's tensors, by local name: plain tensors, no subclasses."""
        return tensors

    def metadata(self, model: nn.Module) -> dict[str, str]:
        """What the headers of files say of the modules that it built."""
        return {}

    def stored_names(self, tensors: Mapping[str, StoredTensor], slots: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Those of a checkpoint's tensors at this module that `stored` gave; none where it holds the original ones.

        By default the names of `slots`, which `convert` fills, where each is there with its shape and dtype.
        """
        whole = all(
            name in tensors and tuple(tensors[name].shape) == tuple(slot.shape) and _same_kind(tensors[name].dtype, slot.dtype)
            for name, slot in slots.items()
        )
        return tuple(slots) if whole else ()

    def restore(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        """The built module's tensors, from those that `stored_names` named."""
        return tensors


@dataclass
class AppliedRewrite:
    """One module that a rewrite replaced, as `model.applied_rewrites` keeps them."""

    key: str
    path: str
    why: str
    rewrite: Rewrite
    original: nn.Module
    """The replaced module; the tensors that were converted are on `meta` in it."""
    sources: tuple[str, ...]
    """Local names that `convert` takes."""
    targets: tuple[str, ...]
    """Local names that it gives."""

    def full(self, names: Iterable[str]) -> list[str]:
        """Local names as the whole model says them."""
        return [f"{self.path}.{name}" for name in names]

    def convert(self, tensors: list[Tensor], built: nn.Module) -> list[Tensor]:
        """Tensors in the order of `sources` to those in the order of `targets`."""
        return self._run(self.rewrite.convert, dict(zip(self.sources, tensors, strict=True)), self.targets, built)

    def revert(self, tensors: list[Tensor], built: nn.Module) -> list[Tensor]:
        """Tensors in the order of `targets` to those in the order of `sources`."""
        return self._run(self.rewrite.revert, dict(zip(self.targets, tensors, strict=True)), self.sources, built)

    def restore(self, tensors: list[Tensor], built: nn.Module, names: tuple[str, ...]) -> list[Tensor]:
        """Tensors of a file, in the order of `names`, to those in the order of `targets`."""
        return self._run(self.rewrite.restore, dict(zip(names, tensors, strict=True)), self.targets, built)

    def _run(self, change: Change, given: dict[str, Tensor], wanted: tuple[str, ...], built: nn.Module) -> list[Tensor]:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in given.items())
        try:
            with torch.no_grad():
                made = change(given, built)
        except (RuntimeError, ValueError, IndexError, KeyError) as error:
            if isinstance(error, TranseptError):
                raise
            what = f"failed at `{self.path}` on {shapes}: {error}"
            raise RewriteError(f"Rewrite `{self.key}` {what}", key=self.key, path=self.path) from error
        if set(made) != set(wanted):
            raise RewriteError(
                f"Rewrite `{self.key}` at `{self.path}` gave {shorten(made)} where {shorten(wanted)} were needed: its `build`, "
                "`sources` and `convert` contradict each other.",
                key=self.key,
                path=self.path,
            )
        return [made[name] for name in wanted]


def automatic_rewrites(model: nn.Module, device: torch.device | None, without: Iterable[str] = ()) -> list[Rewrite]:
    """The installed rewrites that apply themselves to this model, which is on `meta` and will be on that device."""
    found: list[Rewrite] = []
    for record in registry.records("rewrites"):
        if record.automatic is not None and record.key not in without:
            owner = registry.owner("rewrites", record.key)
            if load_object(record.automatic, owner=owner)(model, device) is None:
                found.append(make_rewrite(record.key, getattr(model, "config", None)))
    return found


def make_rewrite(rewrite: str | Rewrite, config: Any, **options: Any) -> Rewrite:
    """A rewrite from an installed plugin's key, or the one given.

    Raises:
        PluginNotFoundError: nothing installed has the key.
        RewriteError: options are given with a rewrite that is already made.
    """
    if isinstance(rewrite, Rewrite):
        if options:
            raise RewriteError(f"Options {shorten(options)} have no effect on a rewrite that is already made.", key=rewrite.key)
        return rewrite
    record: Any = registry.get("rewrites", rewrite)
    made: Rewrite = load_object(record.rewrite, owner=record.key)(config, **options)
    return made


def _same_kind(stored: torch.dtype | None, slot: torch.dtype) -> bool:
    return stored == slot or (stored is not None and stored.is_floating_point and slot.is_floating_point)


def _alike(one: Tensor, other: Tensor) -> bool:
    plain = all(t.is_floating_point() and t.element_size() > 1 for t in (one, other))
    return one.shape == other.shape and (plain or one.dtype == other.dtype)
