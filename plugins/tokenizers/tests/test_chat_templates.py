"""Conversations render and encode as the peer renders and encodes them."""

import dataclasses
import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from transept_tokenizers.fast import PreTrainedTokenizerFast

from transept.errors import ChatTemplateError, UnknownArgumentError

CHATML = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<r>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}{%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>' ~ message.role ~ '\\n' }}
        {%- if loop.index0 > ns.last_query_index and reasoning %}{{- '<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n' }}{%- endif %}
        {{- content }}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '\\n<tool_call>\\n{"name": "' ~ tool_call.name ~ '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<r>' + content + '</r>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
{%- endif %}
{{- system_message }}{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("This model only supports single tool-calls at once!") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ", " }}{%- endif %}
                {%- endfor %}
                {{- "}}" }}{%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}{{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- elif message["role"] == "assistant" %}{{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""

GENERATION = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}
{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}
{{ '\\n' }}{% endfor %}"""

ODD = """{% macro role(name, sep=':') -%}{{ name | upper }}{{ sep }}{{ caller() if caller else '' }}{%- endmacro %}
{% set parts = [] %}{% for m in messages recursive %}{% if loop.index is odd %}{{ loop.cycle('a', 'b') }}{% continue %}{% endif %}
{{ role(m.role) }} {{ m.content | replace('\\n', ' ') | trim | title }}{% if loop.index0 > 5 %}{% break %}{% endif %}
{% call role(m.role, '>') %}inside{% endcall %}{% endfor %}
{% set block %}{{ messages | map(attribute='content') | join('|') }}{% endset %}{{ block[:50] }}{{ block | length }}
{{ dict(a=1, b=[1, 2.5, none, true]) | tojson }} {{ {'é': '<&>'} | tojson(indent=2, ensure_ascii=True) }} {{ [1, 'x', {'k': 2}] }}
{{ '%s-%05.2f' % ('x', 3.14159) }} {{ '{:>8}|{}'.format('r', 2) }} {{ "x" * 3 }} {{ 7 // 2 }} {{ 2 ** 10 }} {{ 10 % 3 }} {{ 'a' ~ 1 ~ none ~ [1] }}
{{ messages | groupby('role') | map('first') | list }} {{ [3, 1, 2] | sort | join(',') }} {{ range(3) | list }} {{ undefined_name is defined }}
{% filter upper %}filtered{% endfilter %}{{ 'a-b-c'.split('-')[::-1] | join }} {{ (1, 2) }} {{ messages[0] == messages[0] }} {{ 'b' in 'abc' }}
{% for key, value in {'x': 1, 'y': 2} | dictsort %}{{ key }}={{ value }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %}
{{ messages | selectattr('role', 'in', ['user', 'tool']) | list | length }} {{ 'text' if messages else 'empty' }} {{ none }} {{ 1.0 }} {{ true }}"""

CHATS = {
    "plain": [
        {"role": "user", "content": "Hi  there\n"},
        {"role": "assistant", "content": " Yes. "},
        {"role": "user", "content": "🙂"},
    ],
    "system": [{"role": "system", "content": "Be brief. "}, {"role": "user", "content": "<|im_end|> 1 < 2 & 3"}],
    "tools": [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "n": 1}}}],
        },
        {"role": "tool", "content": "rain"},
        {"role": "tool", "content": "sun"},
    ],
    "reasoning": [
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "4", "thinking": "easy\n"},
    ],
}


@pytest.fixture(scope="module")
def both(make_folder: Callable[..., Path], open_peer: Callable[..., Any]) -> tuple[PreTrainedTokenizerFast, Any]:
    folder = make_folder("byte_bpe")
    return PreTrainedTokenizerFast.from_pretrained(folder), open_peer(folder)


def weather(
    city: str, unit: Literal["c", "f"], days: int = 1, where: list[str] | None = None, more: dict[str, float] | None = None
) -> str:
    """
    Tells the weather.

    It never lies.

    Args:
        city: The city,
            with country.
        unit: The unit (choices: ["c", "f"])
        days: How many days: up to 7
        where: Places
        more: Numbers
    Returns:
        The weather.
    """
    return city + unit + str(days)


@pytest.mark.parametrize(
    "template", [CHATML, LLAMA3, MISTRAL, GENERATION, ODD], ids=["chatml", "llama3", "mistral", "generation", "odd"]
)
@pytest.mark.parametrize("chat", list(CHATS))
def test_text_equals_the_peers(both: tuple[PreTrainedTokenizerFast, Any], template: str, chat: str) -> None:
    ours, theirs = both
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "<d>", "parameters": {"type": "object", "properties": {}}},
    }
    for options in (
        {},
        {"add_generation_prompt": True},
        {"tools": [tool, weather]},
        {"continue_final_message": True},
        {"documents": [{"title": "t", "text": "x"}]},
    ):
        call = {"chat_template": template, "tokenize": False, **options}
        try:
            expected = theirs.apply_chat_template(CHATS[chat], **call)
        except Exception:
            with pytest.raises(ChatTemplateError):
                ours.apply_chat_template(CHATS[chat], **call)
            continue
        assert ours.apply_chat_template(CHATS[chat], **call) == expected
        call["tokenize"] = True
        assert dict(ours.apply_chat_template(CHATS[chat], **call)) == dict(theirs.apply_chat_template(CHATS[chat], **call))


def test_a_batch_and_its_forms(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    batch = [CHATS["plain"], CHATS["system"]]
    for options in (
        {},
        {"return_dict": False},
        {"tokenize": False},
        {"padding": True, "return_tensors": "pt"},
        {"truncation": True, "max_length": 9, "padding": "max_length"},
    ):
        for chats in (batch, batch[0]):
            ours, theirs = (each.apply_chat_template(chats, chat_template=CHATML, **options) for each in both)
            assert type(ours).__name__ == type(theirs).__name__
            if hasattr(ours, "items"):
                ours, theirs = ({k: getattr(v, "tolist", lambda v=v: v)() for k, v in each.items()} for each in (ours, theirs))
            assert ours == theirs


def test_template_variables_and_reasoning_continue(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    call = {"chat_template": CHATML, "tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    ours, theirs = (each.apply_chat_template(CHATS["plain"], **call) for each in both)
    assert ours == theirs
    assert ours.endswith("<think>\n\n</think>\n\n")
    call = {"chat_template": CHATML, "tokenize": False, "continue_final_message": "reasoning_content"}
    ours, theirs = (each.apply_chat_template(CHATS["reasoning"], **call) for each in both)
    assert ours == theirs
    blocks = [{"role": "user", "content": [{"type": "text", "text": "go"}, {"type": "image"}]}]
    template = "{% for m in messages %}{% for b in m.content %}{{ b.text if b.type == 'text' else '<img>' }}{% endfor %}<end>{% endfor %}"
    call = {"chat_template": template, "tokenize": False, "continue_final_message": True}
    blocks[0]["content"].reverse()
    ours, theirs = (each.apply_chat_template(blocks, **call) for each in both)
    assert ours == theirs == "<img>go"


@pytest.mark.parametrize("return_tensors", [None, "pt"])
def test_assistant_masks(both: tuple[PreTrainedTokenizerFast, Any], return_tensors: str | None) -> None:
    said = {"role": "assistant", "content": "Yes, two  of them"}
    batch = [[*CHATS["reasoning"], CHATS["plain"][0], said], CHATS["reasoning"]]
    call = {
        "chat_template": GENERATION,
        "return_assistant_tokens_mask": True,
        "return_tensors": return_tensors,
        "padding": True,
    }
    for chats in (batch, batch[0]):
        ours, theirs = (each.apply_chat_template(chats, **call) for each in both)
        mine, peers = (
            getattr(each["assistant_masks"], "tolist", lambda e=each: e["assistant_masks"])() for each in (ours, theirs)
        )
        assert mine == peers
        assert 1 in (mine[0] if isinstance(mine[0], list) else mine)


def test_assistant_masks_hold_all_of_a_cut_answer(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    chat = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "  spaces before, and many words"}]
    call = {"chat_template": GENERATION, "return_assistant_tokens_mask": True}
    whole = both[0].apply_chat_template(chat, **call)
    marked = [index for index, mark in zip(whole["input_ids"], whole["assistant_masks"], strict=True) if mark]
    assert both[0].decode(marked).strip() == "spaces before, and many words<|im_end|>"
    length = len(whole["input_ids"]) - 6
    cut = both[0].apply_chat_template(chat, truncation=True, max_length=length, **call)
    assert cut["assistant_masks"] == whole["assistant_masks"][:length]
    assert cut["assistant_masks"][-1] == 1


def test_plain_data_only(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    @dataclasses.dataclass
    class Message:
        role: str
        content: str

    class Role(enum.StrEnum):
        USER = "user"

    class Dangerous:
        def __str__(self) -> str:
            return "called"

    template = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}"
    chat = [Message("user", "a"), {"role": Role.USER, "content": Dangerous()}]
    ours = both[0].apply_chat_template(chat, chat_template=template, tokenize=False)
    assert ours == "user=a;user=<Dangerous>;"
    before = [{"role": "user", "content": "x", "name": None}]
    both[0].apply_chat_template(before, chat_template=CHATML, continue_final_message=True)
    assert before == [{"role": "user", "content": "x", "name": None}]


def test_several_templates(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    ours = both[0]
    ours.chat_template = {"default": "D{{ messages[0].content }}", "tool_use": "T", "rag": "R"}
    chat = [{"role": "user", "content": "x"}]
    assert ours.apply_chat_template(chat, tokenize=False) == "Dx"
    assert ours.apply_chat_template(chat, tools=[], tokenize=False) == "T"
    assert ours.apply_chat_template(chat, chat_template="rag", tokenize=False) == "R"
    ours.chat_template = {"a": "A", "b": "B"}
    with pytest.raises(ChatTemplateError, match="`a`, `b`"):
        ours.apply_chat_template(chat)
    ours.chat_template = None
    with pytest.raises(ChatTemplateError, match="no chat template"):
        ours.apply_chat_template(chat)


def test_refusals_say_what_to_do(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    ours, chat = both[0], [{"role": "user", "content": "x"}]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"add_generation_prompt": True, "continue_final_message": True}, "exclude each other"),
        ({"return_assistant_tokens_mask": True, "tokenize": False}, "needs `tokenize=True`"),
        ({"sanitize_control_tokens": True}, "not supported"),
        ({"chat_template": "{% for %}"}, "does not parse"),
        ({"chat_template": "{{ raise_exception('only cats') }}"}, "only cats"),
        ({"chat_template": "{{ messages.nothing.more }}"}, "nothing"),
        ({"tools": [3]}, "A tool is"),
        ({"tools": [lambda x: x]}, "docstring"),
        ({"documents": ["text"]}, "documents"),
        ({"chat_template": "{% include 'x' %}"}, "fails"),
    ]
    for options, words in refused:
        with pytest.raises(ChatTemplateError, match=words):
            ours.apply_chat_template(chat, **{"chat_template": CHATML, **options})
    for conversation in ([], "text", ["text"], [["a"]]):
        with pytest.raises(ChatTemplateError):
            ours.apply_chat_template(conversation, chat_template=CHATML)
    with pytest.raises(UnknownArgumentError, match="`add_generation_prompt`"):
        ours.apply_chat_template(chat, chat_template=CHATML, add_generation_promt=True)
    with pytest.raises(UnknownArgumentError, match="`enable_thinking`"):
        ours.apply_chat_template(chat, chat_template=CHATML, enable_thinkin=False)
    with pytest.warns(UserWarning, match="`verbosity`"):
        ours.apply_chat_template(chat, chat_template=CHATML, verbosity=3)


def test_a_tool_of_a_function_is_the_peers_schema() -> None:
    get_json_schema = pytest.importorskip("transformers.utils").get_json_schema
    from transept_tokenizers.tool_schema import tool_schema

    class Color(enum.Enum):
        RED = "red"
        BLUE = "blue"

    def paint(
        color: Color, size: int | str, at: tuple[int, float], names: list[list[str]], flag: bool | None = None
    ) -> dict[str, int]:
        """Paint.

        Args:
            color: c
            size: s
            at: a
            names: n
            flag: f

        Returns:
            What: a mapping

        Raises:
            ValueError: never
        """
        return {}

    for function in (weather, paint):
        assert tool_schema(function) == get_json_schema(function)
