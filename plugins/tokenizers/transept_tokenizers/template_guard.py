"""A Jinja sandbox with limits on time and size: chat templates come with checkpoints, and those come from anywhere.

Jinja's sandbox keeps a template away from Python's insides, but lets it burn time and memory. Time is looked at wherever
Jinja can repeat something: each turn of a loop, each call, filter and test. Size is looked at wherever one step can make much
out of little: operators, joins, padding, formatting, and what goes into any call, filter or comparison. A value weighs what
it would print, so that lists which hold one list many times count in full.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence
from contextvars import ContextVar
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

__all__ = ["GuardedEnvironment", "Limits", "TemplateLimitError", "limits"]


_EACH = 8
"""What a value weighs by itself: an entry of a list costs more than a character, to go through and in memory."""


class TemplateLimitError(jinja2.TemplateError):
    """A template takes more time or makes more text than it may."""


class Limits:
    """What one rendering may take: seconds, and a size in characters and entries for each value and for the output."""

    def __init__(self, seconds: float, size: int, given: Iterable[Any] = ()) -> None:
        self.deadline = time.monotonic() + seconds
        self.seconds = seconds
        self.size = size
        self.emitted = 0
        """Characters of the output so far."""
        self._put_out = 0
        self.spans: list[tuple[int, int]] = []
        """What `{% generation %}` blocks put out."""
        self._known: dict[int, int] = {}
        # The caller's own data may be large, and a template may go through it; it is weighed once.
        for value in given:
            self.size += 4 * self._weigh_given(value)

    def _weigh_given(self, value: Any) -> int:
        if isinstance(value, str):
            return _EACH + len(value)
        if isinstance(value, Mapping):
            weight = _EACH + sum(self._weigh_given(part) for pair in value.items() for part in pair)
        elif isinstance(value, (list, tuple)):
            weight = _EACH + sum(self._weigh_given(part) for part in value)
        else:
            return _EACH
        self._known[id(value)] = weight
        return weight

    def tick(self) -> None:
        """Stop a rendering that has run too long."""
        if time.monotonic() > self.deadline:
            raise TemplateLimitError(f"it took more than {self.seconds:g} seconds")

    def check(self, size: int) -> None:
        """Stop before a value becomes too large."""
        if size > self.size:
            raise TemplateLimitError(f"it makes a value of more than {self.size} characters or entries")

    def put_out(self, size: int) -> None:
        """Count what goes into the output, and into blocks and macros on its way there, where it is kept in pieces."""
        self._put_out += size
        self.check(self._put_out // 8)

    def weigh(self, *values: Any) -> int:
        """Size of values together; stops at the limit, so that it never takes long itself."""
        total = 0
        stack = list(values)
        while stack:
            value = stack.pop()
            known = self._known.get(id(value))
            total += _EACH if known is None else known
            if known is not None:
                continue
            if isinstance(value, str):
                total += len(value)
            elif isinstance(value, range):
                total += _EACH * len(value)
            elif isinstance(value, (Mapping, list, tuple, set, frozenset, MappingView)):
                self.check(total + _EACH * len(value))
                stack.extend(value)  # type: ignore[arg-type]
                if isinstance(value, Mapping):
                    stack.extend(value.values())
            elif isinstance(value, int):
                total += value.bit_length() // 3
            self.check(total)
        return total


limits: ContextVar[Limits] = ContextVar("transept_chat_template_limits")
"""Limits of the rendering that this thread is at."""


class GuardedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja with a sandbox, and with the limits in `limits` on everything that a template does, compiling included."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(lambda parts: _concat(parts))  # noqa: PLW0108 (defined below)

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_put_out, **options)
        for name in _NOT_NEEDED:
            del self.filters[name]
        del self.globals["lipsum"]
        all_functions: tuple[dict[str, Any], ...] = (self.filters, self.tests)
        for functions in all_functions:
            functions.update({name: guarded_filter(name, each) for name, each in functions.items()})
        self.filters |= {"_watched": _Watched.over, "_weighed": _weighed, "_joined": _joined}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        # children first: they move into their parents' calls
        for node in reversed(list(tree.find_all(nodes.Node))):
            for field, value in node.iter_fields():
                if isinstance(value, nodes.Concat):
                    setattr(node, field, self._through("_joined", *value.nodes))
                elif isinstance(value, list):
                    value[:] = [self._through("_joined", *v.nodes) if isinstance(v, nodes.Concat) else v for v in value]
        for node in reversed(list(tree.find_all((nodes.For, nodes.Compare, nodes.Operand, nodes.Pair)))):
            name, field = _LOOKED_AT[type(node)]
            setattr(node, field, self._through(name, getattr(node, field)))
        return tree

    def _through(self, name: str, first: nodes.Expr, *rest: nodes.Expr) -> nodes.Expr:
        """Put an expression through one of the filters above; a constant needs no look."""
        if isinstance(first, nodes.Const) and name == "_weighed":
            return first
        made = nodes.Filter(first, name, list(rest), [], None, None, lineno=first.lineno)
        made.environment = self
        return made

    # What compiled templates call.

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        # bytes and translations are ways around the checks of text, and templates make text
        return attr not in ("encode", "to_bytes", "translate") and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        now = limits.get()
        whole = isinstance(left, int) and isinstance(right, int)
        if operator == "+":
            now.weigh(left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left, right)
        elif operator == "*" and whole:
            _check_bits(left.bit_length() + right.bit_length())
        elif operator == "*":
            times = max((each for each in (left, right) if isinstance(each, int)), default=1)
            now.check(now.weigh(left, right) * times)
        elif operator == "**" and whole:
            _check_bits(left.bit_length() * abs(right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        now = limits.get()
        now.tick()
        args = tuple(map(_listed, args))
        now.weigh(*args, *kwargs.values())
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            parts = [args[0], owner, *args[1:]] if __obj.__name__ == "join" and args else [owner, *args]
            _check_growth(__obj.__name__, parts, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(obj, _weighed(argument))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        text = getattr(value, "__self__", None)
        if getattr(value, "__name__", None) not in ("format", "format_map") or not isinstance(text, str):
            return None

        def formatted(*args: Any, **kwargs: Any) -> str:
            _check_format(text, (args, kwargs))
            return SandboxedFormatter(self).vformat(text, args, kwargs)

        return formatted


class _Watched:
    """A loop's values, with a look at the clock at each."""

    def __init__(self, values: Any) -> None:
        self.values = values if hasattr(values, "__len__") else _listed(iter(values))

    @classmethod
    def over(cls, values: Any) -> Any:
        return values if isinstance(values, jinja2.Undefined) else cls(values)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        now = limits.get()
        for value in self.values:
            now.tick()
            yield value


def _listed(value: Any) -> Any:
    """A generator's values as a list, within the limits; anything else as it is."""
    if not isinstance(value, Iterator):
        return value
    now = limits.get()
    values: list[Any] = []
    for each in value:
        now.tick()
        now.check(len(values))
        values.append(each)
    return values


def _weighed(value: Any) -> Any:
    """A value that isn't too large to be compared or looked up."""
    if not isinstance(value, (float, type(None))):
        limits.get().weigh(value)
    return value


def _put_out(value: Any) -> Any:
    """The value of a `{{ … }}`, before it becomes text."""
    now = limits.get()
    now.put_out(now.weigh(value))
    return value


def _joined(*values: Any) -> str:
    """The operator `~`."""
    limits.get().weigh(*values)
    return "".join([str(value) for value in values])


def _concat(parts: Iterable[str]) -> str:
    """Join what a block, macro or call puts out."""
    listed = list(parts)
    limits.get().check(sum(map(len, listed)))
    return "".join(listed)


def guarded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or test that looks at the clock and at the sizes of what it is given."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        now = limits.get()
        now.tick()
        args = tuple(map(_listed, args))
        values = [each for each in args if not isinstance(each, (jinja2.Environment, Context, nodes.EvalContext))]
        now.weigh(*values, *kwargs.values())
        _check_growth(name, values, kwargs)
        return function(*args, **kwargs)

    return guarded


def _check_growth(name: str, values: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Refuse the steps that make much out of little: replacing, joining, formatting, and padding to a width.

    `values` are the value that is worked on, then the arguments.
    """
    if name not in _GROWING or not values:
        return
    now = limits.get()
    value, others = values[0], [*values[1:], *named.values()]
    text = value if isinstance(value, str) else ""
    # an argument may be the width, or a text that is put in at each place
    largest = max((abs(each) if isinstance(each, int) else now.weigh(each) for each in others), default=1)
    if name == "format":
        _check_format(text, others)
        return
    if name == "replace" and not named and isinstance(others[0], str):
        places = text.count(others[0])
    elif name == "indent":
        places = text.count("\n") + 1
    elif name in ("join", "replace", "tojson", "expandtabs"):
        places = now.weigh(value) + 1
    else:
        places = 1
    now.check(now.weigh(value) + places * largest)


def _check_format(text: str, values: Any) -> None:
    """Refuse widths in a format that would fill memory, and those that are computed."""
    depth = digits = 0
    armed = False
    for character in text:
        if character in "%{:.":
            depth += character == "{"
            armed, digits = character in "%{" or depth > 0 or armed, 0
        elif armed and character.isdecimal():
            digits += 1
        elif character == "}":
            depth = max(depth - 1, 0)
            armed = depth > 0
        elif character.isalpha() and not depth:
            armed = False
        if digits > 5 or depth > 1 or (armed and not depth and character == "*"):
            raise TemplateLimitError("it formats to a width of more than five digits, or one that it computes")
    now = limits.get()
    now.check((text.count("%") + text.count("{") + 1) * now.weigh(values) + len(text))


def _check_bits(bits: int) -> None:
    if bits > 4096:
        raise TemplateLimitError("it computes a number of more than 4096 bits")


_LOOKED_AT = {
    nodes.For: ("_watched", "iter"),
    nodes.Compare: ("_weighed", "expr"),
    nodes.Operand: ("_weighed", "expr"),
    nodes.Pair: ("_weighed", "key"),
}
# Never seen in a chat template, and with regular expressions or randomness inside.
_NOT_NEEDED = ("urlize", "pprint", "random", "xmlattr", "wordwrap", "striptags")
_GROWING = frozenset(
    {"replace", "join", "format", "indent", "tojson", "center", "ljust", "rjust", "zfill", "expandtabs", "batch", "slice"}
)
