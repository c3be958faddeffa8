"""What every quantizer is: a rewrite that packs linear layers, and leaves alone what it should."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from torch import Tensor, nn

from ..errors import QuantizationError
from ..rewrite import Rewrite, local_tensors
from .config import QuantizationConfig

__all__ = ["Quantizer"]


class Quantizer(Rewrite):
    """Packs every plain `torch.nn.Linear` but those that its settings name, else the output embeddings and what is tied.

    Give it `key`, `build` and `convert`, and `revert` so that a model can be dequantized; `stored` and `restore` where files do not
    hold the built module's tensors as they are (see `Rewrite`).
    """

    order = 10
    packs = True
    undoable = True
    marker: ClassVar[str | None] = None
    """Local name of a tensor that packed modules alone have: a checkpoint with such says itself which modules are packed."""

    def __init__(self, config: QuantizationConfig) -> None:
        self.config = config
        self.only: Callable[[str], bool | None] | None = None
        """Set where several quantizers share a model: True takes a path, False leaves it, None asks the settings."""
        self._kept: tuple[str, ...] = ()
        self.found: frozenset[str] = frozenset()
        """Paths of the modules that the checkpoint holds packed."""

    def look_at(self, tensors: Mapping[str, Any]) -> None:
        if self.marker is not None:
            end = f".{self.marker}"
            self.found = frozenset(name.removesuffix(end) for name in tensors if name.endswith(end))

    def prepare(self, model: nn.Module) -> None:
        pairs = [{name.rpartition(".")[0] for name in tie} for tie in getattr(model, "tied_weights", {}).items()]
        self.found = self.found.union(*(pair for pair in pairs if pair & self.found))  # files hold one of them
        tied = [path for pair in pairs for path in pair]
        self._kept = (*tied, *(self.kept_by_default(model) if self.config.modules_to_not_convert is None else ()))

    def kept_by_default(self, model: Any) -> list[str]:
        """Paths that stay in full precision unless `modules_to_not_convert` says something else; what is tied always does."""
        head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        return [path for path, module in model.named_modules() if head is not None and module is head]

    def select(self, path: str, module: nn.Module) -> bool:
        if not self.found:
            return self.fits(module) and self.takes(path)
        return path in self.found and self.fits(module) and (self.only is None or self.only(path) is not False)

    def fits(self, module: nn.Module) -> bool:
        """Whether this kind of module can be packed."""
        return type(module) is nn.Linear

    def takes(self, path: str) -> bool:
        """Whether the settings let the module at this path be packed."""
        decided = self.only(path) if self.only is not None else None
        if decided is not None:
            return decided
        skipped = self.config.modules_to_not_convert or ()
        return path not in self._kept and not any(f".{one}." in f".{path}." or fnmatchcase(path, one) for one in skipped)

    def stored_names(self, tensors: Mapping[str, Any], slots: Mapping[str, Tensor]) -> tuple[str, ...]:
        if self.marker is None:
            return super().stored_names(tensors, slots)
        return tuple(name for name in slots if name in tensors) if self.marker in tensors else ()

    def restore(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        """The tensors of a file, where they are what the settings say."""
        for name, slot in local_tensors(built).items():
            there = tensors.get(name)
            floats = there is not None and there.is_floating_point() and slot.is_floating_point() and slot.element_size() > 1
            if there is not None and (there.shape != slot.shape or (there.dtype != slot.dtype and not floats)):
                raise QuantizationError(
                    f"`{name}` of `{getattr(built, 'path', type(built).__name__)}` is {tuple(there.shape)}, {there.dtype}, and the "
                    f"settings make it {tuple(slot.shape)}, {slot.dtype}: `quantization_config` is not that of these weights."
                )
        return tensors
