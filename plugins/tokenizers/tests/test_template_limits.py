"""A hostile chat template gives an error within its limits: it neither hangs, nor fills memory, nor gets at Python."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from transept_tokenizers import chat_template
from transept_tokenizers.fast import PreTrainedTokenizerFast

from transept.errors import ChatTemplateError

CHAT = [{"role": "user", "content": "hello"}]
LOOP = "{% for a in range(100000) %}"
DEEP = "{% set a = ('x',) * 50 %}" + "".join(f"{{% set a = ({', '.join(['a'] * 20)}) %}}" for _ in range(12))

TIME = {
    "nested loops without output": LOOP * 4 + "{% endfor %}" * 4,
    "nested loops over a list": "{% set l = range(1000)|list %}" + "{% for a in l %}" * 5 + "{% endfor %}" * 5,
    "loops over text": "{% set t = 'x' * 1000 %}" + "{% for a in t %}" * 5 + "{% endfor %}" * 5,
    "loops that skip": "{% for a in range(99999) %}" + "{% for b in range(99999) if b > 99999 %}" * 2 + "{% endfor %}" * 3,
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "a loop that calls itself": "{% for a in [[1]*9] recursive %}{{ loop([[1]*9]*9) if loop.depth < 60 }}{% endfor %}",
    "filters in loops": LOOP * 2 + "{{ range(1000)|map('upper')|list|length }}" + "{% endfor %}" * 2,
    "a generator of generators": LOOP + "{% set x = range(90000)|select('odd')|map('string')|list|sort|join %}{% endfor %}",
    "output in a block": "{% set b %}" + LOOP * 3 + "." + "{% endfor %}" * 3 + "{% endset %}",
}

SIZE = {
    "a long text": "{{ 'x' * 10**9 }}",
    "a long list": "{{ [0] * 10**9 }}",
    "a long list from the left": "{{ 10**9 * [0] }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "a product": "{% set n = namespace(v=3) %}" + LOOP + "{% set n.v = n.v * n.v %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(v='x') %}" + LOOP + "{% set n.v = n.v ~ n.v %}{% endfor %}",
    "doubling by +": "{% set n = namespace(v='x') %}" + LOOP + "{% set n.v = n.v + n.v %}{% endfor %}",
    "doubling a list": "{% set n = namespace(v=[0]) %}" + LOOP + "{% set n.v = n.v + n.v %}{% endfor %}",
    "replace": "{% set t = 'x' * 100000 %}{{ t.replace('x', t) }}",
    "the filter replace": "{% set t = 'x' * 100000 %}{{ t | replace('x', t) }}",
    "the filter replace, by name": "{% set t = 'x' * 100000 %}{{ t | replace(new=t, old='x') }}",
    "join": "{% set t = 'x' * 100000 %}{{ t.join(t) }}",
    "the filter join": "{% set t = 'x' * 100000 %}{{ t | join(t) }}",
    "center": "{{ 'x'.center(10**10) }}",
    "the filter center": "{{ 'x' | center(10**10) }}",
    "zfill": "{{ 'x'.zfill(10**10) }}",
    "expandtabs": "{{ ('\\t' * 100000).expandtabs(100000) }}",
    "indent": "{{ ('\\n' * 100000) | indent(100000) }}",
    "indent by text": "{{ ('\\n' * 100000) | indent('x' * 100000) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "json": "{{ (range(10000)|list) | tojson(indent=100000) }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (1000000000, 1) }}",
    "percent precision": "{{ '%.1000000000f' % 1 }}",
    "the filter format": "{{ '%1000000000d' | format(1) }}",
    "format": "{{ '{:1000000000}'.format(1) }}",
    "format by a width": "{{ '{:{}}'.format(1, 1000000000) }}",
    "format many": "{% set t = 'x' * 100000 %}{{ ('%s' * 1000) % ((t,) * 1000) }}",
    "a text of nested lists": DEEP + "{{ a }}",
    "json of nested lists": DEEP + "{{ a | tojson }}",
    "~ of nested lists": DEEP + "{{ a ~ '' }}",
    "comparing nested lists": DEEP
    + DEEP.replace("set a", "set b").replace("('x'", "('y'").replace("(a", "(b").replace(" a", " b")
    + "{{ a == b }}",
    "hashing nested lists": DEEP + "{{ {a: 1} }}",
    "looking nested lists up": DEEP + "{{ {}[a] }}",
    "dict of nested lists": DEEP + "{{ dict([(a, 1)]) }}",
    "much output": LOOP + "{{ 'x' * 1000 }}{% endfor %}",
    "much output in a block": "{% set b %}" + LOOP + "{{ 'x' * 10000 }}{% endfor %}{% endset %}{{ b }}",
    "much output in a macro": "{% macro m() %}" + LOOP + "{{ 'x' * 10000 }}{% endfor %}{% endmacro %}{{ m() }}",
    "large pieces in a block": "{% set b %}" + LOOP + "{{ i ~ 'x' * 1000000 }}{% endfor %}{% endset %}",
    "large ranges": "{% for a in range(10**9) %}{% endfor %}",
    "a long concatenation": "{% set t = 'x' * 1000000 %}{{ " + " ~ ".join(["t"] * 1000) + " }}",
}

PYTHON = {
    "classes": "{{ ''.__class__.__mro__ }}",
    "globals": "{{ raise_exception.__globals__ }}",
    "format attributes": "{{ '{0.__class__}'.format(1) }}",
    "attr filter": "{{ 'x' | attr('__class__') }}",
    "changing data": "{{ messages.append(1) }}",
    "changing a mapping": "{{ messages[0].update({'role': 'x'}) }}",
    "namespace names": "{{ namespace(__class__=1) }}",
    "bytes": "{{ 'x'.encode() }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "imports": "{% import 'os' as os %}",
    "division": "{{ 1 // 0 }}",
    "deep nesting": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}


@pytest.fixture(scope="module")
def tokenizer(make_folder: Callable[..., Path]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(make_folder("byte_bpe"))


def refused(tokenizer: PreTrainedTokenizerFast, template: str, within: float) -> str:
    began = time.monotonic()
    with pytest.raises(ChatTemplateError) as caught:
        tokenizer.apply_chat_template(CHAT, chat_template=template, tokenize=False)
    assert time.monotonic() - began < within
    return str(caught.value)


@pytest.mark.parametrize("name", list(TIME))
def test_time(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(chat_template, "MOST_SECONDS", 0.2)
    said = refused(tokenizer, TIME[name], within=2.5)
    assert "more than 0.2 seconds" in said or "characters or entries" in said or "Range too big" in said


@pytest.mark.parametrize("name", list(SIZE))
def test_size(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(chat_template, "MOST_SECONDS", 2)
    said = refused(tokenizer, SIZE[name], within=3)
    words = ("characters or entries", "bits", "width", "Range too big", "seconds")
    assert any(each in said for each in words), said


@pytest.mark.parametrize("name", list(PYTHON))
def test_python(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    try:
        said = tokenizer.apply_chat_template(CHAT, chat_template=PYTHON[name], tokenize=False)
    except ChatTemplateError:
        return
    assert said == ""


def test_the_template_itself(tokenizer: PreTrainedTokenizerFast) -> None:
    assert "is the most" in refused(tokenizer, "x" * 300_000, within=1)


def test_a_large_conversation_passes(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "user", "content": "x" * 1000}] * 2000 + [{"role": "user", "content": "y" * 3_000_000}]
    template = "{% for m in messages %}{% if messages|length > 1 and m == messages[0] or loop.last %}{{ m.role ~ m.content }}{% endif %}{% endfor %}"
    text = tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False)
    assert len(text) == 2001 * 4 + 5_000_000


def test_threads_have_limits_of_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    template = "{% for i in range(200) %}{{ messages[0].content }}{% generation %}{{ i }}{% endgeneration %}{% endfor %}"
    expected = "".join(f"hello{i}" for i in range(200))
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(tokenizer.apply_chat_template(CHAT, chat_template=template, tokenize=False))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8
