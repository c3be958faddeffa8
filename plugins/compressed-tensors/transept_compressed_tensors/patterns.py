"""Which modules a scheme is for: names, class names, and `re:` patterns, which are matched without ever being compiled.

A checkpoint's pattern is anybody's, and a regular expression can take time that is exponential in a name. So a small part of them
is read here, and matched in time that is linear in the name: characters, `.`, `\\.`, `\\d`, each with `*` or `+` after it, `^` and `$` at
the ends, and groups of alternatives without groups inside, `(q|k|v)` or `(?:q|k|v)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from transept.errors import QuantizationError

__all__ = ["matches"]

_LONGEST = 200
_MOST = 32
"""Characters of a pattern, and ways to choose among its alternatives."""
_SPECIAL = set("*+?[](){}|^$\\")


def matches(target: str, path: str, class_names: set[str]) -> bool:
    """Whether a target (a path, a class's name, or `re:` and a pattern that fits from the path's beginning) is this module.

    Raises:
        QuantizationError: a pattern beyond what is read.
    """
    if not target.startswith("re:"):
        return target == path or target in class_names
    return any(_fits(steps, path) for steps in _read(target.removeprefix("re:")))


@dataclass(frozen=True)
class _Step:
    """One character of a kind (None: any; "digit"; else itself); repeated: none or more of them."""

    kind: str | None
    repeated: bool = False

    def takes(self, character: str) -> bool:
        if self.kind is None:
            return True
        return character.isdigit() if self.kind == "digit" else character == self.kind


@lru_cache(maxsize=256)
def _read(pattern: str) -> list[list[_Step]]:
    """The ways to match, one for each choice among alternatives."""
    if len(pattern) > _LONGEST:
        raise _beyond(pattern, f"it is longer than {_LONGEST} characters")
    inner, whole = pattern.removeprefix("^"), False
    if inner.endswith("$") and not inner.endswith("\\$"):
        inner, whole = inner[:-1], True
    parts = [[_steps(one, pattern) for one in choices] for choices in _choices(inner, pattern)]
    count = 1
    for choices in parts:
        count *= len(choices)
    if count > _MOST:
        raise _beyond(pattern, f"it has more than {_MOST} ways to choose")
    end = [] if whole else [_Step(None, repeated=True)]
    return [[step for part in chosen for step in part] + end for chosen in product(*parts)]


def _choices(text: str, pattern: str) -> Iterator[list[str]]:
    """The pattern's parts in their order: a plain one, or the alternatives of a group."""
    position = 0
    while position < len(text):
        start = _find(text, "(", position)
        if start < 0:
            break
        end = _find(text, ")", start)
        if end < 0 or text[end + 1 : end + 2] in ("*", "+", "?", "{"):
            raise _beyond(pattern, "a group is repeated, or not closed")
        yield [text[position:start]]
        yield text[start + 1 : end].removeprefix("?:").split("|")
        position = end + 1
    yield [text[position:]]


def _find(text: str, character: str, start: int) -> int:
    """Where a character stands that no backslash escapes."""
    position = text.find(character, start)
    while position > 0 and text[position - 1] == "\\":
        position = text.find(character, position + 1)
    return position


def _steps(text: str, pattern: str) -> list[_Step]:
    found: list[_Step] = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "\\":
            escaped = text[position : position + 1]
            position += 1
            if (escaped.isalnum() and escaped != "d") or not escaped:
                raise _beyond(pattern, f"`\\{escaped}` is not read")
            kind: str | None = "digit" if escaped == "d" else escaped
        elif character in _SPECIAL:
            raise _beyond(pattern, f"`{character}` is not read there")
        else:
            kind = None if character == "." else character
        repeat = text[position : position + 1]
        if repeat in ("*", "+"):
            position += 1
            if repeat == "+":
                found.append(_Step(kind))
        if text[position : position + 1] in ("?", "+", "*"):
            raise _beyond(pattern, "a repetition is repeated, or lazy")
        found.append(_Step(kind, repeated=repeat in ("*", "+") and bool(repeat)))
    return found


def _fits(steps: list[_Step], path: str) -> bool:
    """Whether the steps take the whole path: all the places that they could be at, character by character."""

    def onward(places: set[int]) -> set[int]:
        reached: set[int] = set()
        waiting = list(places)
        while waiting:
            place = waiting.pop()
            if place not in reached:
                reached.add(place)
                if place < len(steps) and steps[place].repeated:
                    waiting.append(place + 1)
        return reached

    places = onward({0})
    for character in path:
        moved = {
            place if steps[place].repeated else place + 1
            for place in places
            if place < len(steps) and steps[place].takes(character)
        }
        places = onward(moved)
    return len(steps) in places


def _beyond(pattern: str, why: str) -> QuantizationError:
    return QuantizationError(
        f"The pattern `re:{pattern[:80]}` of `quantization_config` is not one that transept reads: {why}. Regular expressions from "
        "checkpoints are not run; write the modules' names in its place."
    )
