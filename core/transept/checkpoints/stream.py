"""The stream from a checkpoint to a model on `meta`: read, convert, place, assign, one tensor after another.

Peak memory is the finished model and the two largest tensors. Where nothing changes a tensor (the CPU, the same dtype) the
parameter is the mapped file itself, private to this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import (
    CheckpointError,
    MissingTensorsError,
    PlacementError,
    ShapeMismatchError,
    TranseptError,
    UnexpectedTensorsError,
    shorten,
)
from ..rewrite import Rewrite, apply_rewrites, local_tensors, own_storage, set_tensor
from .key_map import Conversion, KeyMap
from .names import align_prefix, all_ties, called, claim_packed, join_rewrites, new_layers, prefix_hint, settle_ties
from .reader import CheckpointReader, TensorRef
from .report import LoadReport, Mismatch

__all__ = ["LoadReport", "load_checkpoint"]

Device = str | int | torch.device
Place = Callable[[str, Tensor], Tensor | None]


def load_checkpoint(
    model: nn.Module,
    reader: CheckpointReader,
    *,
    key_map: KeyMap | None = None,
    rewrites: Iterable[Rewrite] = (),
    dtype: torch.dtype | None = None,
    device: Device = "cpu",
    device_of: Mapping[str, Device] | None = None,
    place: Place | None = None,
    strict: bool = True,
    ignore_mismatched_sizes: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LoadReport:
    """Fill a model that is on `meta`.

    Args:
        key_map: from the checkpoint's names and layouts to the model's, where they differ.
        rewrites: applied to the model first; their tensors are converted as they come.
        dtype: floating tensors are cast to it; None keeps what the checkpoint has. Integer ones, and what a rewrite makes, stay.
        device_of: device by module prefix, the longest one decides; `device` for what none covers. "disk" goes to `place`.
        place: takes `(name, tensor)` that belongs on "disk", and returns what the parameter keeps; None leaves it on `meta`.
        strict: missing tensors are refused, except those of `model.new_on_load`, and so are tensors of the base model that
            nothing takes. False initialises or leaves out, and reports.
        ignore_mismatched_sizes: initialise parameters whose shape differs from the checkpoint's, and report them.
        progress: called with `(bytes done, bytes in all)`.

    Of the model it uses, where they are: `base_model_prefix`, `tied_weights`, `new_on_load`, `_init_weights`, `untie`,
    `_keys_to_ignore_on_load_unexpected`, `_keep_in_fp32_modules`, `_keep_in_fp32_modules_strict`; and `reset_buffers(device)` of
    each module that has non-persistent buffers.

    Raises:
        MissingTensorsError, UnexpectedTensorsError, ShapeMismatchError: checkpoint and model do not fit.
        RewriteError, PlacementError, CheckpointError: see the message.
    """
    start = time.perf_counter()
    ties = all_ties(model)
    original = local_tensors(model)
    rewrites = list(rewrites)
    packing = [one for one in rewrites if one.packs]
    if packing:  # a plain load has no use for these names
        found = called(model, reader.tensors)
        new = new_layers(model, found, reader.tensors, key_map or KeyMap())
        for rewrite in packing:
            rewrite.leaves, rewrite.stored_metadata = new, dict(reader.metadata)
            rewrite.look_at(found)
    apply_rewrites(model, rewrites)
    stream = _Stream(model, reader, _Target(model, dtype, device, device_of, place), progress)
    stream.plan(key_map or KeyMap(), ties, original, ignore_mismatched_sizes)
    stream.refuse(strict, original)
    stream.run()
    stream.finish()
    stream.report.seconds = time.perf_counter() - start
    return stream.report


@dataclass
class _Target:
    """Which dtype and device each tensor ends in."""

    model: nn.Module
    dtype: torch.dtype | None
    device: Device
    device_of: Mapping[str, Device] | None
    place: Place | None

    def __post_init__(self) -> None:
        self._by_prefix = sorted((self.device_of or {}).items(), key=lambda item: -len(item[0]))
        self._half_in_fp32 = tuple(getattr(self.model, "_keep_in_fp32_modules", None) or ())
        self._always_fp32 = tuple(getattr(self.model, "_keep_in_fp32_modules_strict", None) or ())
        if self.place is None and any(str(device) == "disk" for _, device in self._by_prefix):
            raise PlacementError("Part of the model is to go to the disk, which needs `pip install transept-accelerate`.")

    def device_for(self, name: str) -> Device:
        for prefix, device in self._by_prefix:
            if not prefix or f"{name}.".startswith(f"{prefix}."):
                return device
        return self.device

    def dtype_for(self, name: str, stored: torch.dtype) -> torch.dtype:
        if not stored.is_floating_point:
            return stored
        wanted = self.dtype or stored
        keep = self._always_fp32 + (self._half_in_fp32 if wanted == torch.float16 else ())
        kept = wanted in (torch.float16, torch.bfloat16) and any(f".{part}." in f".{name}." for part in keep)
        return torch.float32 if kept else wanted

    def memory_for(self, name: str) -> torch.device:
        """The device where a tensor is made; what goes to the disk is made on the CPU."""
        device = self.device_for(name)
        return torch.device("cpu" if device == "disk" else device)

    def prepare(self, name: str, tensor: Tensor, *, cast: bool = True) -> Tensor:
        """The tensor on its device and, with `cast`, in its dtype; the same object when it is already."""
        return tensor.to(self.memory_for(name), self.dtype_for(name, tensor.dtype) if cast else tensor.dtype)


class _Stream:
    """One load."""

    def __init__(
        self, model: nn.Module, reader: CheckpointReader, target: _Target, progress: Callable[[int, int], None] | None
    ) -> None:
        self.model = model
        self.reader = reader
        self.target = target
        self.progress = progress
        self.report = LoadReport(format=reader.format, files=tuple(reader.files))
        self.slots = local_tensors(model)
        self.applied = list(getattr(model, "applied_rewrites", None) or ())
        self.report.rewritten = [(one.key, one.path, one.why) for one in self.applied]
        self.by_rewrite: set[str] = set()
        self.work: list[Conversion] = []
        self.missing: list[str] = []
        self.initialize: list[str] = []

    def plan(self, key_map: KeyMap, ties: Mapping[str, str], original: Mapping[str, Tensor], ignore_mismatched: bool) -> None:
        """Decide for each name where it goes, before anything is read."""
        tensors = self.reader.tensors
        claims = claim_packed(self.model, self.applied, tensors)
        graph = key_map.graph(tensors, untouched=claims)
        graph.join([([name], [full], list) for name, (full, _) in claims.items() if name != full], changes=False)
        packed = {full for full, _ in claims.values()}
        align_prefix(graph, [*original, *self.slots, *packed], self.model)
        self.hint = prefix_hint(graph, original) if not any(name in graph for name in original) else ""
        ties = settle_ties(graph, ties, tensors, self.model)
        self._check_shapes(graph.conversions(), original, packed, ignore_mismatched)
        remaining, self.by_rewrite, lost = join_rewrites(
            graph, self.model, self.applied, ties, tensors, self.target.prepare, claims
        )
        self.report.tied = {target: source for target, source in remaining.items() if target in self.slots}
        silent = tuple(getattr(self.model, "_keys_to_ignore_on_load_unexpected", None) or ())
        unused = [name for name in graph if name not in self.slots]
        self.report.unexpected = [name for name in unused if not any(fnmatchcase(name, pattern) for pattern in silent)]
        self.work = [conversion for conversion in graph.conversions() if any(name in self.slots for name in conversion.targets)]
        filled = self.by_rewrite.union(self.report.tied)
        absent = [name for name in self.slots if name not in graph and name not in filled]
        new = tuple(getattr(self.model, "new_on_load", ()))
        self.initialize += [name for name in absent if any(fnmatchcase(name, pattern) for pattern in new)]
        recomputed = [name for name in absent if self._is_recomputed(name)]
        self.missing = [*(name for name in absent if name not in self.initialize and name not in recomputed), *lost]
        self.lost = lost

    def _check_shapes(
        self, conversions: list[Conversion], original: Mapping[str, Tensor], packed: Container[str], ignore: bool
    ) -> None:
        """Find tensors of another shape where that is known without reading."""
        for conversion in conversions:
            if conversion.changes or conversion.targets[0] in packed:
                continue
            name, stored = conversion.targets[0], tuple(self.reader.tensors[conversion.sources[0]].shape)
            fitting = [tuple(slots[name].shape) for slots in (original, self.slots) if name in slots]
            if fitting and stored not in fitting:
                self.report.mismatched.append(Mismatch(name, stored, fitting[0]))
        found = [one for one in self.report.mismatched if not ignore or one.name not in self.slots]
        if found:
            raise self._mismatch(found)
        self.initialize += [one.name for one in self.report.mismatched]

    def _mismatch(self, found: list[Mismatch]) -> ShapeMismatchError:
        return ShapeMismatchError(
            f"Tensors do not have the shapes of the model: {shorten(found, 3)}. The configuration does not belong to this "
            "checkpoint; or, to start these anew, pass `ignore_mismatched_sizes=True`.",
            names=[one.name for one in found],
        )

    def _is_recomputed(self, name: str) -> bool:
        owner = self.model.get_submodule(name.rpartition(".")[0])
        return not isinstance(self.slots[name], nn.Parameter) and hasattr(owner, "reset_buffers")

    def refuse(self, strict: bool, original: Mapping[str, Tensor]) -> None:
        """Raise for what must not pass; with `strict=False` only for what cannot be mended."""
        if self.missing and (strict or self.lost):
            part = "all" if len(self.missing) >= len(self.slots) else str(len(self.missing))
            raise MissingTensorsError(
                f"The checkpoint lacks {part} of the tensors that `{type(self.model).__name__}` needs: {shorten(self.missing)}."
                f"{self.hint or ' It is another architecture, or incomplete; `strict=False` initialises what is missing.'}",
                names=self.missing,
            )
        self.report.missing = self.missing
        self.initialize += self.missing
        base = f"{getattr(self.model, 'base_model_prefix', '')}."
        inside = [name.removeprefix(base) for name in original if name.startswith(base)] or list(original)
        parts = {name.partition(".")[0] for name in inside}
        foreign = [name for name in self.report.unexpected if name.removeprefix(base).partition(".")[0] in parts]
        if foreign and strict:
            raise UnexpectedTensorsError(
                f"The checkpoint has tensors that `{type(self.model).__name__}` has no place for: {shorten(foreign)}. The "
                "configuration does not belong to this checkpoint; `strict=False` leaves them out.",
                names=foreign,
            )

    def run(self) -> None:
        """Read, convert and assign."""
        refs = self.reader.tensors
        total = sum(refs[name].nbytes for conversion in self.work for name in conversion.sources)
        for conversion in self.work:
            if conversion.targets[0] not in self.initialize:
                self._assign(conversion, [refs[name] for name in conversion.sources])
            self.report.tensors += len(conversion.sources)
            self.report.bytes += sum(refs[name].nbytes for name in conversion.sources)
            if self.progress is not None:
                self.progress(self.report.bytes, total)

    def _assign(self, conversion: Conversion, refs: list[TensorRef]) -> None:
        try:
            made = conversion.convert([ref.read() for ref in refs])
        except (RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, TranseptError):
                raise
            shapes = ", ".join(f"{ref.name} {list(ref.shape)}" for ref in refs)
            raise CheckpointError(f"{shorten(conversion.targets)} cannot be made from {shapes}: {error}") from error
        copied = True
        for index, name in enumerate(conversion.targets):
            tensor, made[index] = made[index], torch.empty(0)
            slot = self.slots.get(name)
            if slot is None:
                continue
            if tensor.shape != slot.shape:
                raise self._mismatch([Mismatch(name, tuple(tensor.shape), tuple(slot.shape))])
            ready = self.target.prepare(name, tensor, cast=name not in self.by_rewrite)
            if conversion.changes and not isinstance(ready, nn.Parameter):
                ready = own_storage(ready)
            if conversion.changes or ready is not tensor:
                self.report.converted.append(name)
            else:
                copied = False
            del tensor
            self._put(name, ready)
        if copied:
            for ref in refs:
                ref.release()

    def _put(self, name: str, tensor: Tensor) -> None:
        if self.target.device_for(name) == "disk" and self.target.place is not None:
            kept = self.target.place(name, tensor.detach())
            if kept is None:
                self.report.placed_elsewhere.append(name)
                return
            tensor = kept
        set_tensor(self.model, name, tensor)

    def finish(self) -> None:
        """Initialise what is new, tie, recompute buffers, and make sure that nothing was forgotten."""
        self._initialize()
        for target, source in self.report.tied.items():
            set_tensor(self.model, target, self.model.get_parameter(source))
        elsewhere = set(self.report.placed_elsewhere)
        for path, module in self.model.named_modules():
            names = [
                name
                for name, buffer in module._buffers.items()
                if buffer is not None and (name in module._non_persistent_buffers_set or buffer.is_meta)
                if (f"{path}.{name}" if path else name) not in elsewhere
            ]
            if names and not hasattr(module, "reset_buffers"):
                raise CheckpointError(
                    f"`{path or type(module).__name__}` ({type(module).__name__}) has the buffers {shorten(names)}, which no "
                    "checkpoint holds, and no `reset_buffers(device)` that computes them: give its class one.",
                    path=path,
                )
            if names:
                module.reset_buffers(self.target.memory_for(f"{path}.{names[0]}" if path else names[0]))
            if hasattr(module, "compute_in"):  # packed: no tensor of it says the model's dtype
                module.compute_in(self.target.dtype_for(path, torch.float32))
        known = elsewhere | {target for target, source in self.report.tied.items() if source in elsewhere}
        held = {**local_tensors(self.model), **dict(self.model.named_buffers())}
        left = [name for name, tensor in held.items() if tensor.is_meta and name not in known]
        if left:
            raise CheckpointError(f"After loading, {shorten(left)} still have no data: their module cannot be filled.")

    def _initialize(self) -> None:
        """Initialise new parameters as the model does, without touching what was loaded beside them."""
        by_owner: dict[str, list[str]] = {}
        for name in self.initialize:
            by_owner.setdefault(name.rpartition(".")[0], []).append(name)
        for path, names in by_owner.items():
            owner = self.model.get_submodule(path)
            new = {name.rpartition(".")[2]: name for name in names}
            loaded = {name: tensor for name, tensor in {**owner._parameters, **owner._buffers}.items() if tensor is not None}
            with torch.no_grad():
                for name, tensor in loaded.items():
                    dtype = self.target.dtype_for(new[name], tensor.dtype) if name in new else tensor.dtype
                    set_tensor(
                        owner,
                        name,
                        torch.zeros(tensor.shape, dtype=dtype, device=self.target.memory_for(new.get(name, names[0]))),
                    )
                self._draw(owner, names)
            for name, tensor in loaded.items():
                if name in new:
                    self._put(new[name], {**owner._parameters, **owner._buffers}[name])  # type: ignore[arg-type]
                else:
                    set_tensor(owner, name, tensor)
        self.report.newly_initialized = list(self.initialize)

    def _draw(self, owner: nn.Module, names: list[str]) -> None:
        draw: Any = getattr(self.model, "_init_weights", None)
        reset: Any = getattr(owner, "reset_parameters", None)
        if draw is not None:
            draw(owner)
        elif reset is not None:
            reset()
        else:
            raise MissingTensorsError(
                f"The checkpoint lacks {shorten(names)}, and neither the model nor `{type(owner).__name__}` initialises them.",
                names=names,
            )
