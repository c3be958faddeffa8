"""Functions as tools: a JSON schema out of type hints and a Google-style docstring."""

from __future__ import annotations

import enum
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from transept.errors import ChatTemplateError

__all__ = ["tool_schema"]

_TYPES: dict[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    dict: {"type": "object"},
    Any: {},
}
_SECTIONS = ("Args:", "Returns:", "Raises:")


def tool_schema(tool: Mapping[str, Any] | Callable[..., Any]) -> Mapping[str, Any]:
    """A tool as templates want it: `{"type": "function", "function": {"name", "description", "parameters"}}`.

    A mapping is taken as it is. A function needs a type hint and a line in its docstring for each argument.

    Raises:
        ChatTemplateError: neither a mapping nor a function, or a function that says too little about itself.
    """
    if isinstance(tool, Mapping):
        return tool
    if not (inspect.isfunction(tool) or inspect.ismethod(tool)):
        raise ChatTemplateError(
            f"A tool is `{tool!r:.100}`: give a JSON schema, or a function with type hints and a docstring."
        )
    name = tool.__name__
    sections = _sections(inspect.getdoc(tool) or "")
    if not sections[""]:
        raise ChatTemplateError(f"The tool `{name}` has no docstring, from which the model would learn what it does.")
    described = _descriptions(sections["Args:"])
    hints = typing.get_type_hints(tool)
    properties: dict[str, Any] = {}
    required = []
    for argument in inspect.signature(tool).parameters.values():
        if argument.name in ("self", "cls") and argument.name not in hints:
            continue
        if argument.name not in hints or argument.name not in described:
            lacks = "type hint" if argument.name not in hints else "line in the docstring's `Args:`"
            raise ChatTemplateError(f"The tool `{name}` has no {lacks} for its argument `{argument.name}`.")
        schema = _schema(hints[argument.name], f"{name}.{argument.name}")
        description, choices = _choices(described[argument.name])
        properties[argument.name] = {**schema, **({"enum": choices} if choices else {}), "description": description}
        if argument.default is argument.empty:
            required.append(argument.name)
    parameters = {"type": "object", "properties": properties, **({"required": required} if required else {})}
    function = {"name": name, "description": sections[""], "parameters": parameters}
    returned = _returned(hints, sections["Returns:"], name)
    return {"type": "function", "function": {**function, **({"return": returned} if returned is not None else {})}}


def _returned(hints: Mapping[str, Any], description: str, name: str) -> dict[str, Any] | None:
    """The schema of what comes back: left out where it can't be said, since the model never writes it."""
    if "return" not in hints:
        return None
    try:
        schema = _schema(hints["return"], f"{name}'s return value")
    except ChatTemplateError:
        return None
    return {**schema, **({"description": description} if description else {})}


def _schema(hint: Any, where: str) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is None and hint in _TYPES:
        return dict(_TYPES[hint])
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice_of([member.value for member in hint], where)
    if origin is typing.Literal:
        return _choice_of(list(arguments), where)
    if origin in (typing.Union, types.UnionType):
        return _union([_schema(each, where) for each in arguments if each is not type(None)], type(None) in arguments)
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0], where)}
    if origin is tuple and len(arguments) > 1 and ... not in arguments:
        return {"type": "array", "prefixItems": [_schema(each, where) for each in arguments]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], where)}
    raise ChatTemplateError(
        f"The type hint `{hint}` of `{where}` has no JSON schema. Use str, int, float, bool, Literal, Enum, list, dict or unions "
        "of them, or give the tool's schema yourself."
    )


def _union(schemas: list[dict[str, Any]], nullable: bool) -> dict[str, Any]:
    if len(schemas) == 1:
        union = schemas[0]
    elif all(list(schema) == ["type"] and isinstance(schema["type"], str) for schema in schemas):
        names = sorted({schema["type"] for schema in schemas})
        union = {"type": names[0] if len(names) == 1 else names}
    else:
        union = {"anyOf": schemas}
    return {**union, **({"nullable": True} if nullable else {})}


def _choice_of(values: list[Any], where: str) -> dict[str, Any]:
    if not values or not all(type(value) in (int, float, str, bool, type(None)) for value in values):
        raise ChatTemplateError(f"The choices of `{where}` must be strings, numbers, booleans or None: they are {values!r}.")
    kinds = list(dict.fromkeys(_TYPES[type(value)]["type"] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}


def _sections(docstring: str) -> dict[str, str]:
    """The docstring's parts by heading; what comes before the first one under the empty string."""
    parts: dict[str, list[str]] = {name: [] for name in ("", *_SECTIONS)}
    current = ""
    for line in docstring.splitlines():
        if line.strip() in _SECTIONS:
            current = line.strip()
        else:
            parts[current].append(line)
    return {
        name: "\n".join(lines).strip() if name == "" else "\n".join(lines) if name == "Args:" else _one_line(lines)
        for name, lines in parts.items()
    }


def _descriptions(arguments: str) -> dict[str, str]:
    """What the docstring says about each argument; lines that are indented deeper go on with the one above."""
    found: dict[str, list[str]] = {}
    indent, name = 0, ""
    for line in arguments.splitlines():
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        head, colon, rest = text.partition(":")
        if text and colon and head.isidentifier() and (not name or depth <= indent):
            indent, name = depth, head
            found[name] = [rest]
        elif text and name:
            found[name].append(text)
    return {each: _one_line(lines) for each, lines in found.items()}


def _one_line(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())


def _choices(description: str) -> tuple[str, list[Any]]:
    """A description that ends in `(choices: [...])` without it, and the choices."""
    text, mark, rest = description.partition("(choices:")
    if not mark or not rest.rstrip().endswith(")"):
        return description, []
    try:
        choices = json.loads(rest.rstrip()[:-1])
    except json.JSONDecodeError as error:
        raise ChatTemplateError(f"`(choices: …)` in a tool's docstring must hold a JSON list: `{rest}`.") from error
    return text.strip(), [each.strip() if isinstance(each, str) else each for each in choices]
