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

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import CheckpointError, MissingTensorsError, shorten

__all__ = ["Concat", "Conversion", "Drop", "KeyMap", "Operation", "Permute", "Rename", "Split", "Stack", "Transpose"]

Convert = Callable[[list[Tensor]], list[Tensor]]

_HOLES = ("{}", "*")
_FRESH = "\0"
"""Marks names that a step gave while its neighbours are not done."""


class NamePattern:
    """A name with holes. Matching takes time linear in the name, whatever the name is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.segments = text.split(".")
        self.holes = [segment for segment in self.segments if segment in _HOLES]
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
            if segment in _HOLES:
                found.append(".".join(parts[position : position + width]))
            elif parts[position] != segment:
                return None
            position += width
        return tuple(found)

    def fill(self, found: Sequence[str]) -> str:
        """The name with these in the holes."""
        values = iter(found)
        return ".".join(next(values) if segment in _HOLES else segment for segment in self.segments)


class Operation:
    """A step of a key map: names `sources` become `targets`, their tensors pass through `forward`, and back through `backward`.

    `forward=None`: tensors pass as they are, and stay zero-copy. `backward=None`: there is nothing to bring back.
    """

    def __init__(
        self, sources: Sequence[str], targets: Sequence[str], forward: Convert | None = None, backward: Convert | None = None
    ) -> None:
        self.sources = tuple(sources)
        self.targets = tuple(targets)
        self.forward = forward
        self.backward = backward

    def inverse(self) -> Operation:
        """The step back."""
        return Operation(self.targets, self.sources, self.backward, self.forward)


class Rename(Operation):
    """Another name, the same tensor."""

    def __init__(self, source: str, target: str) -> None:
        super().__init__([source], [target])


class Drop(Operation):
    """A tensor that is known not to be needed; it does not come back."""

    def __init__(self, source: str) -> None:
        super().__init__([source], [], lambda _: [])


class Permute(Operation):
    """Any change of one tensor that can be taken back: `backward(forward(t))` equals `t`."""

    def __init__(
        self, source: str, target: str | None, forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__([source], [target or source], lambda ts: [forward(ts[0])], lambda ts: [backward(ts[0])])


class Transpose(Permute):
    """Two dims swapped; `target` is the new name, where it changes."""

    def __init__(self, source: str, target: str | None = None, dims: tuple[int, int] = (0, 1)) -> None:
        super().__init__(source, target, lambda tensor: tensor.transpose(*dims), lambda tensor: tensor.transpose(*dims))


class Split(Operation):
    """One tensor cut along a dim, into equal parts or `sizes`."""

    def __init__(self, source: str, targets: Sequence[str], dim: int = 0, sizes: Sequence[int] | None = None) -> None:
        parts = _Parts(len(targets), dim, sizes)
        super().__init__([source], targets, parts.cut, parts.join)


class Concat(Operation):
    """Tensors joined along a dim; `sizes` when they are unequal, so that it can be taken back."""

    def __init__(self, sources: Sequence[str], target: str, dim: int = 0, sizes: Sequence[int] | None = None) -> None:
        parts = _Parts(len(sources), dim, sizes)
        super().__init__(sources, [target], parts.join, parts.cut)


class Stack(Operation):
    """Tensors of one shape put side by side along a new dim: experts that become one tensor."""

    def __init__(self, sources: Sequence[str], target: str, dim: int = 0) -> None:
        super().__init__(sources, [target], lambda ts: [torch.stack(ts, dim)], lambda ts: list(ts[0].unbind(dim)))


@dataclass(frozen=True)
class _Parts:
    count: int
    dim: int
    sizes: Sequence[int] | None

    def cut(self, tensors: list[Tensor]) -> list[Tensor]:
        length = tensors[0].shape[self.dim]
        sizes = list(self.sizes or (length // self.count,) * self.count)
        if sum(sizes) != length or len(sizes) != self.count:
            raise ValueError(f"a dim of {length} does not split into {self.count} parts of {sizes}")
        return list(tensors[0].split(sizes, dim=self.dim))

    def join(self, tensors: list[Tensor]) -> list[Tensor]:
        sizes = [tensor.shape[self.dim] for tensor in tensors]
        if sizes != list(self.sizes or sizes[:1] * len(sizes)):
            raise ValueError(f"parts of {sizes} are joined where {self.sizes or 'equal ones'} were declared")
        return [torch.cat(tensors, dim=self.dim)]


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

    def join(self, steps: Iterable[tuple[Sequence[str], Sequence[str], Convert]], *, changes: bool = True) -> None:
        """Append steps `(names, new names, function)` that happen side by side: one may take a name that another gives."""
        for names, new, apply in steps:
            fresh = [_FRESH + name for name in new]
            feeding = list({id(self._by_name[name]): self._by_name[name] for name in names}.values())
            self._take(feeding)
            self.add(_chained(feeding, names, fresh, apply, changes))
        unmarked = {id(one): one for name, one in self._by_name.items() if name.startswith(_FRESH)}.values()
        self._take(unmarked)
        for one in unmarked:
            self.add(replace(one, targets=tuple(name.removeprefix(_FRESH) for name in one.targets)))

    def _take(self, conversions: Iterable[Conversion]) -> None:
        for conversion in conversions:
            for name in conversion.targets:
                del self._by_name[name]

    def conversions(self) -> list[Conversion]:
        """Each conversion once, in the order of the first tensor that it reads."""
        found = {id(conversion): conversion for conversion in self._by_name.values()}.values()
        return sorted(found, key=lambda conversion: min(self._order[name] for name in conversion.sources))


def _chained(feeding: list[Conversion], names: Sequence[str], new: list[str], apply: Convert, changes: bool) -> Conversion:
    """What `feeding` makes, with a step from `names` to `new` behind it."""
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
    return Conversion(sources, (*new, *rest), convert, changes or any(conversion.changes for conversion in feeding))


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

    def reversed(self) -> KeyMap:
        """The table from the model's names to the checkpoint's. What `Drop` dropped does not come back."""
        return KeyMap(operation.inverse() for operation in reversed(self.operations) if operation.targets)

    def graph(self, names: Iterable[str], untouched: Container[str] = ()) -> ConversionGraph:
        """What becomes of these names; those that are `untouched` stay as they are.

        Raises:
            MissingTensorsError: an operation joins several tensors and some of them are absent.
            CheckpointError: two names become one.
        """
        graph = ConversionGraph(names)
        for operation, (sources, targets) in zip(self.operations, self._patterns, strict=True):
            matches: dict[tuple[str, ...], dict[int, str]] = {}
            for name in graph:
                if name in untouched:
                    continue
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
            apply = operation.forward or list
            steps = [
                ([names_of[i] for i in range(len(sources))], [pattern.fill(found) for pattern in targets], apply)
                for found, names_of in matches.items()
            ]
            graph.join(steps, changes=operation.forward is not None)
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
