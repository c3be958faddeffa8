"""The one place where chat templates render."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import functools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.utils import Namespace

from transept.errors import ChatTemplateError, UnknownArgumentError

from .template_guard import GuardedEnvironment, Limits, guarded_filter, limits
from .tool_schema import tool_schema

__all__ = ["LONGEST_TEMPLATE", "MOST_OUTPUT", "MOST_SECONDS", "RenderedChat", "render_chat"]

LONGEST_TEMPLATE = 256 << 10
"""Characters of a template; the longest in use have some thirty thousand."""
MOST_OUTPUT = 2 << 20
"""Characters that a template may make by itself, beside what the conversation brings."""
MOST_SECONDS = 5.0
"""What one rendering may take."""

_REASONING = ("reasoning_content", "thinking", "reasoning")
_CUT_HERE = "CONTINUE_FINAL_MESSAGE_TAG "


@dataclasses.dataclass(slots=True)
class RenderedChat:
    """A conversation as text, and the (start, end) characters that the template marks as the assistant's."""

    text: str
    assistant_spans: list[tuple[int, int]]


def render_chat(
    chat: Sequence[Any],
    *,
    template: str,
    tools: Sequence[Any] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool | str = False,
    track_assistant: bool = False,
    variables: Mapping[str, Any] | None = None,
    special_tokens: Mapping[str, str] | None = None,
) -> RenderedChat:
    """Render one conversation.

    Templates see plain data only: `messages`, `tools` (JSON schemas; functions are turned into those), `documents`,
    `add_generation_prompt`, the special tokens by name, and `variables`. They are rendered by Jinja's immutable sandbox with
    limits on time and size.

    Raises:
        ChatTemplateError: the template is too long, does not parse, goes beyond its limits, or raises an error itself.
        UnknownArgumentError: a variable that the template does not read and that looks like a misspelt argument.
    """
    messages = _messages(chat)
    _check_documents(documents)
    compiled, read = _compiled(template)
    _check_variables(variables or {}, read)
    continued = _open_last(messages, continue_final_message, template) if continue_final_message else None
    if track_assistant and "generation" not in template:
        warnings.warn("The chat template marks nothing as the assistant's: it has no `{% generation %}`.", stacklevel=4)
    given = {
        **(special_tokens or {}),
        **_plain(variables or {}),
        "messages": messages,
        "tools": None if tools is None else [_plain(tool_schema(tool)) for tool in tools],
        "documents": _plain(documents),
        "add_generation_prompt": add_generation_prompt,
    }
    guard = Limits(MOST_SECONDS, MOST_OUTPUT, given.values())
    text = _render(compiled, given, guard)
    if continued is not None:
        text = _cut(text, continued)
    return RenderedChat(text, guard.spans)


def _render(compiled: jinja2.Template, given: Mapping[str, Any], guard: Limits) -> str:
    before = limits.set(guard)
    pieces = []
    try:
        for piece in compiled.generate(given):
            pieces.append(piece)
            guard.emitted += len(piece)
            guard.check(guard.emitted)
            guard.tick()
    except Exception as error:
        raise _refused("fails", error) from error
    finally:
        limits.reset(before)
    return "".join(pieces)


def _refused(what: str, error: Exception) -> ChatTemplateError:
    said = str(error) or type(error).__name__
    if isinstance(error, RecursionError):
        said = "it calls itself without end"
    line = f" (line {error.lineno})" if isinstance(error, jinja2.TemplateSyntaxError) else ""
    return ChatTemplateError(f"The chat template {what}{line}: {said}")


# ---- the template ------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _compiled(template: str) -> tuple[jinja2.Template, frozenset[str]]:
    """The compiled template, and the names of the variables that it reads."""
    if len(template) > LONGEST_TEMPLATE:
        raise ChatTemplateError(f"The chat template has {len(template)} characters; {LONGEST_TEMPLATE} is the most.")
    before = limits.set(Limits(MOST_SECONDS, MOST_OUTPUT))
    try:
        environment = _environment()
        return environment.from_string(template), frozenset(meta.find_undeclared_variables(environment.parse(template)))
    except Exception as error:
        raise _refused("does not parse", error) from error
    finally:
        limits.reset(before)


@functools.lru_cache(maxsize=1)
def _environment() -> GuardedEnvironment:
    environment = GuardedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = guarded_filter("tojson", _tojson)
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, dict=_MakeDict(), namespace=_PlainNamespace
    )
    return environment


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:  # noqa: A002
    return datetime.datetime.now().strftime(format)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Models are trained on JSON as it is; Jinja's own filter writes `<` and `&` as escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _MakeDict:
    """`dict(...)`, without the attributes of the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _PlainNamespace(Namespace):
    """A namespace whose names do not begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        for name in dict(*args[1:], **kwargs):
            _check_namespace_name(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_namespace_name(name)
        super().__setitem__(name, value)


def _check_namespace_name(name: Any) -> None:
    if str(name).startswith("_"):
        raise jinja2.TemplateError(f"`{name}` begins with an underscore, which a namespace's names may not")


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}`: what stands inside is the assistant's."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        text = caller()
        guard = limits.get()
        if text:
            guard.spans.append((guard.emitted, guard.emitted + len(text)))
        return text


# ---- what it is given --------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A copy made of JSON's types alone. Whatever else the caller puts in (images, tensors) becomes a mere name of its type.

    Objects have methods, and a sandbox cannot know which of them write files. Templates only ask whether media are there.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):  # of an enum or a subclass without its methods, as the numbers
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value] if isinstance(value, list) else tuple(_plain(each) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(getattr(value, "model_dump", None)):
        return _plain(value.model_dump())
    if type(value).__module__.partition(".")[0] == "numpy" and getattr(value, "ndim", None) == 0:
        return _plain(value.item())
    return f"<{type(value).__name__}>"


def _messages(chat: Sequence[Any]) -> list[dict[str, Any]]:
    """The messages as templates want them: no keys without a value, and reasoning under each of its names."""
    messages = []
    for place, message in enumerate(chat):
        plain = _plain(message)
        if not isinstance(plain, dict):
            raise ChatTemplateError(
                f"`conversation[{place}]` is `{message!r:.100}`: a message is a mapping with `role` and `content`."
            )
        plain = {key: value for key, value in plain.items() if value is not None}
        reasoning = next((plain[name] for name in _REASONING if name in plain), None)
        if reasoning is not None:
            plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
        messages.append(plain)
    return messages


def _check_documents(documents: Any) -> None:
    if documents is not None and not all(isinstance(document, Mapping) for document in documents):
        raise ChatTemplateError("`documents` must be a list of mappings, such as `{'title': …, 'text': …}`.")


def _check_variables(variables: Mapping[str, Any], read: frozenset[str]) -> None:
    """A variable that the template never reads has no effect; one that looks like a slip of the pen is refused."""
    known = [*_ARGUMENTS, *read]
    for name in variables:
        if name in read:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if near:
            raise UnknownArgumentError(
                f"Neither `apply_chat_template` nor the chat template takes `{name}`. Did you mean `{near[0]}`?", name=name
            )
        warnings.warn(f"The chat template does not read `{name}`, which therefore changes nothing.", stacklevel=6)


_ARGUMENTS = (
    "tools",
    "documents",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer_kwargs",
)


# ---- a last message that is left open ----------------------------------------------------------------------------


def _open_last(messages: list[dict[str, Any]], field: bool | str, template: str) -> str:
    """Mark where the last message ends, so that what the template puts after it can be cut off; returns its text."""
    name = field if isinstance(field, str) else "content"
    last = messages[-1] if messages else {}
    if last.get(name) is None:
        raise ChatTemplateError(f"`continue_final_message` needs a last message with `{name}`, which has none.")
    text = last[name]
    names = [each for each in _REASONING if last.get(each) == text] if name in _REASONING else [name]
    if not any(each in template for each in names):
        raise ChatTemplateError(f"`continue_final_message` is to go on with `{name}`, which the chat template does not read.")
    if isinstance(text, (list, tuple)):
        block = next((each for each in reversed(text) if isinstance(each, dict) and "text" in each), None)
        if block is None:
            raise ChatTemplateError("`continue_final_message` needs text in the last message, which has none.")
        text = block["text"]
        block["text"] = text + _CUT_HERE
    else:
        for each in names:
            last[each] = text + _CUT_HERE
    return str(text)


def _cut(rendered: str, text: str) -> str:
    mark = _CUT_HERE.strip()
    if text.strip() not in rendered or mark not in rendered:
        raise ChatTemplateError(
            "`continue_final_message` cannot go on with the last message, of which the chat template leaves something out."
        )
    place = rendered.rindex(mark)
    whole = rendered.startswith(_CUT_HERE, place)
    return rendered[:place] if whole else rendered[:place].rstrip()  # a template that trims messages trims this one too
