"""One declarative table between a checkpoint's tensor names and layouts and the model's; it runs in both directions.

A pattern is a dotted name. A segment `{}` stands for exactly one segment, `*` (at most one in a pattern) for one or more.
Operations apply in order, each on the names that the one before left:

    KeyMap([
        Rename("blk.{}.attn_output.weight", "model.layers.{}.self_attn.o_proj.weight"),
        Split("h.{}.attn.c_attn.weight", ("h.{}.q.weight", "h.{}.k.weight", "h.{}.v.weight"), dim=1),
        Transpose("h.{}.q.weight"),
    ])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ..errors import CheckpointError, MissingTensorsError, shorten

__all__ = [
    "Concat",
    "Conversion",
    "ConversionGraph",
    "Drop",
    "KeyMap",
    "Operation",
    "Permute",
    "Rename",
    "Split",
    "Stack",
    "Transpose",
    "Unstack",
]

Convert = Callable[[list[Tensor]], list[Tensor]]

_FRESH = "\0"
"""Marks names that a step gave while its neighbours are not done."""


class NamePattern:
    """A name with holes. Matching takes time linear in the name, whatever the name is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.segments = text.split(".")
        self.holes = [segment for segment in self.segments if segment in ("{}", "*")]
        if self.holes.count("*") > 1 or text.count("{}") + text.count("*") != len(self.holes):
            raise ValueError(f"`{text}`: a hole is a whole segment, `{{}}` for one or `*` (at most once) for one or more.")

    def match(self, parts: list[str]) -> tuple[str, ...] | None:
        """What the holes stand for in a name split at its dots; None when the name is another."""
        extra = len(parts) - len(self.segments)
        if extra < 0 or (extra and "*" not in self.holes):
            return None
        found = []
        position = 0
        for segment in self.segments:
            width = 1 + extra if segment == "*" else 1
            if segment in ("{}", "*"):
                found.append(".".join(parts[position : position + width]))
            elif parts[position] != segment:
                return None
            position += width
        return tuple(found)

    def fill(self, found: Sequence[str]) -> str:
        """The name with these in the holes."""
        values = iter(found)
        return ".".join(next(values) if segment in ("{}", "*") else segment for segment in self.segments)


class Operation(Protocol):
    """A step of a key map: some names become others, and their tensors with them."""

    @property
    def sources(self) -> tuple[str, ...]: ...

    @property
    def targets(self) -> tuple[str, ...]: ...

    @property
    def changes(self) -> bool:
        """False: tensors pass as they are, and stay zero-copy."""

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        """Tensors of one match, in the order of `sources`, to those in the order of `targets`."""

    def inverse(self) -> Operation | None:
        """The step back; None when there is nothing to bring back."""


@dataclass(frozen=True)
class _OneToOne:
    source: str
    changes: ClassVar[bool] = True

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def targets(self) -> tuple[str, ...]:
        return (getattr(self, "target", None) or self.source,)


@dataclass(frozen=True)
class Rename(_OneToOne):
    """Another name, the same tensor."""

    target: str
    changes: ClassVar[bool] = False

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        return tensors

    def inverse(self) -> Rename:
        return Rename(self.target, self.source)


@dataclass(frozen=True)
class Transpose(_OneToOne):
    """Two dims swapped; `target` is the new name, where it changes."""

    target: str | None = None
    dims: tuple[int, int] = (0, 1)

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        return [tensors[0].transpose(*self.dims)]

    def inverse(self) -> Transpose:
        return Transpose(self.targets[0], self.source, self.dims)


@dataclass(frozen=True)
class Permute(_OneToOne):
    """Any change of one tensor that can be taken back: `backward(forward(t))` equals `t`."""

    target: str | None
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor], Tensor]
    label: str = ""

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        return [self.forward(tensors[0])]

    def inverse(self) -> Permute:
        return Permute(self.targets[0], self.source, self.backward, self.forward, self.label)


@dataclass(frozen=True)
class _OneToMany:
    source: str
    targets: tuple[str, ...]
    dim: int = 0
    changes: ClassVar[bool] = True

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)


@dataclass(frozen=True)
class _ManyToOne:
    sources: tuple[str, ...]
    target: str
    dim: int = 0
    changes: ClassVar[bool] = True

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.target,)


@dataclass(frozen=True)
class Split(_OneToMany):
    """One tensor cut along a dim, into equal parts or `sizes`."""

    sizes: tuple[int, ...] | None = None

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        length, parts = tensors[0].shape[self.dim], len(self.targets)
        sizes = self.sizes or (length // parts,) * parts
        if sum(sizes) != length or len(sizes) != parts:
            raise ValueError(f"a dim of {length} does not split into {parts} parts of {sizes}")
        return list(tensors[0].split(list(sizes), dim=self.dim))

    def inverse(self) -> Concat:
        return Concat(self.targets, self.source, self.dim, self.sizes)


@dataclass(frozen=True)
class Concat(_ManyToOne):
    """Tensors joined along a dim; `sizes` when they are unequal, so that it can be taken back."""

    sizes: tuple[int, ...] | None = None

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        sizes = tuple(tensor.shape[self.dim] for tensor in tensors)
        if sizes != (self.sizes or (sizes[0],) * len(sizes)):
            raise ValueError(f"parts of {sizes} are joined where {self.sizes or 'equal ones'} were declared")
        return [torch.cat(tensors, dim=self.dim)]

    def inverse(self) -> Split:
        return Split(self.target, self.sources, self.dim, self.sizes)


@dataclass(frozen=True)
class Stack(_ManyToOne):
    """Tensors of one shape put side by side along a new dim: experts that become one tensor."""

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        return [torch.stack(tensors, dim=self.dim)]

    def inverse(self) -> Unstack:
        return Unstack(self.target, self.sources, self.dim)


@dataclass(frozen=True)
class Unstack(_OneToMany):
    """The slices of a tensor along a dim, which disappears."""

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        if tensors[0].shape[self.dim] != len(self.targets):
            raise ValueError(f"a dim of {tensors[0].shape[self.dim]} does not part into {len(self.targets)} slices")
        return list(tensors[0].unbind(self.dim))

    def inverse(self) -> Stack:
        return Stack(self.targets, self.source, self.dim)


@dataclass(frozen=True)
class Drop(_OneToOne):
    """A tensor that is known not to be needed."""

    @property
    def targets(self) -> tuple[str, ...]:
        return ()

    def apply(self, tensors: list[Tensor]) -> list[Tensor]:
        return []

    def inverse(self) -> None:
        return None


@dataclass(frozen=True)
class Conversion:
    """Some tensors of the checkpoint that together become some of the model."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    convert: Convert
    changes: bool = False
    """False: one tensor passes as it is."""


class ConversionGraph:
    """What becomes of each name; steps are appended, and a conversion carries out all steps of its tensors at once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_name = {name: Conversion((name,), (name,), list) for name in names}
        self._order = {name: index for index, name in enumerate(self._by_name)}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def origin(self, name: str) -> Conversion:
        """The conversion that yields the name."""
        return self._by_name[name]

    def add(self, conversion: Conversion) -> None:
        """Put a conversion of checkpoint tensors beside the others.

        Raises:
            CheckpointError: another one yields the same name.
        """
        for name in conversion.targets:
            if name in self._by_name:
                raise CheckpointError(
                    f"Two tensors of the checkpoint become `{name.removeprefix(_FRESH)}`: {shorten((*self._by_name[name].sources, *conversion.sources))}.",
                    name=name,
                )
            self._by_name[name] = conversion

    def add_copy(self, sources: tuple[str, ...], target: str, convert: Convert, *, changes: bool) -> None:
        """Let a name be made from checkpoint tensors that another name is made from too."""
        self.add(Conversion(sources, (target,), convert, changes))

    def join(self, steps: Iterable[tuple[Sequence[str], Sequence[str], Convert]], *, changes: bool = True) -> None:
        """Append steps `(names, new names, function)` that happen side by side: one may take a name that another gives."""
        for names, new, apply in steps:
            fresh = [_FRESH + name for name in new]
            feeding, made = self._chain(list(names), fresh, apply, changes)
            self._take(feeding)
            self.add(made)
        unmarked = {id(one): one for name, one in self._by_name.items() if name.startswith(_FRESH)}.values()
        self._take(unmarked)
        for one in unmarked:
            self.add(replace(one, targets=tuple(name.removeprefix(_FRESH) for name in one.targets)))

    def _take(self, conversions: Iterable[Conversion]) -> None:
        for conversion in conversions:
            for name in conversion.targets:
                del self._by_name[name]

    def _chain(self, names: list[str], new: list[str], apply: Convert, changes: bool) -> tuple[list[Conversion], Conversion]:
        feeding = list({id(self._by_name[name]): self._by_name[name] for name in names}.values())
        rest = [name for conversion in feeding for name in conversion.targets if name not in names]

        def convert(tensors: list[Tensor]) -> list[Tensor]:
            values: dict[str, Tensor] = {}
            position = 0
            for conversion in feeding:
                taken = tensors[position : position + len(conversion.sources)]
                values.update(zip(conversion.targets, conversion.convert(taken), strict=True))
                position += len(taken)
            return [*apply([values[name] for name in names]), *(values[name] for name in rest)]

        sources = tuple(name for conversion in feeding for name in conversion.sources)
        changed = changes or any(conversion.changes for conversion in feeding)
        return feeding, Conversion(sources, (*new, *rest), convert, changed)

    def conversions(self) -> list[Conversion]:
        """Each conversion once, in the order of the first tensor that it reads."""
        found = {id(conversion): conversion for conversion in self._by_name.values()}.values()
        return sorted(found, key=lambda conversion: min(self._order[name] for name in conversion.sources))


class KeyMap:
    """A table of operations (see the module's text)."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self.operations = tuple(operations)
        self._patterns = [
            ([NamePattern(s) for s in operation.sources], [NamePattern(t) for t in operation.targets])
            for operation in self.operations
        ]
        for sources, targets in self._patterns:
            if any(pattern.holes != sources[0].holes for pattern in (*sources, *targets)):
                raise ValueError(f"{shorten(p.text for p in (*sources, *targets))} must have the same holes in the same order.")

    def __len__(self) -> int:
        return len(self.operations)

    def reversed(self) -> KeyMap:
        """The table from the model's names to the checkpoint's. What `Drop` dropped does not come back."""
        inverses = [operation.inverse() for operation in reversed(self.operations)]
        return KeyMap(operation for operation in inverses if operation is not None)

    def graph(self, names: Iterable[str]) -> ConversionGraph:
        """What becomes of these names.

        Raises:
            MissingTensorsError: an operation joins several tensors and some of them are absent.
            CheckpointError: two names become one.
        """
        graph = ConversionGraph(names)
        for operation, (sources, targets) in zip(self.operations, self._patterns, strict=True):
            matches: dict[tuple[str, ...], dict[int, str]] = {}
            for name in graph:
                parts = name.split(".")
                for index, pattern in enumerate(sources):
                    found = pattern.match(parts)
                    if found is not None:
                        matches.setdefault(found, {})[index] = name
            for found, names_of in matches.items():
                absent = [pattern.fill(found) for index, pattern in enumerate(sources) if index not in names_of]
                if absent:
                    raise MissingTensorsError(
                        f"{shorten(names_of.values())} cannot be converted without {shorten(absent)}, which the checkpoint lacks.",
                        names=absent,
                    )
            steps = [
                ([names_of[i] for i in range(len(sources))], [pattern.fill(found) for pattern in targets], operation.apply)
                for found, names_of in matches.items()
            ]
            graph.join(steps, changes=operation.changes)
        return graph

    def plan(self, names: Iterable[str]) -> list[Conversion]:
        """The conversions that bring these names into the model's; raises as `graph`."""
        return self.graph(names).conversions()

    def convert(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors converted at once: for what fits in memory twice."""
        made: dict[str, Tensor] = {}
        for conversion in self.plan(tensors):
            results = conversion.convert([tensors[name] for name in conversion.sources])
            made.update(zip(conversion.targets, results, strict=True))
        return made
