"""Streamers give the text piece by piece, whole characters only, and never leave a reader waiting."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from queue import Empty

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transept.errors import GenerationError
from transept.generation import AsyncTextIteratorStreamer, TextIteratorStreamer, TextStreamer

PROMPT = torch.tensor([[72, 105]])


class Pieces(TextStreamer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pieces, self.ended = [], 0

    def on_finalized_text(self, text, stream_end=False):
        self.pieces.append(text)
        self.ended += stream_end


def feed(streamer, ids):
    streamer.put(PROMPT)
    for token in ids:
        streamer.put(torch.tensor([token]))
    streamer.end()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.integers(0, 262), max_size=25), skip=st.booleans())
def test_the_pieces_joined_are_the_text(ids, skip, tokenizer):
    streamer = Pieces(tokenizer, skip_prompt=skip, skip_special_tokens=True)
    feed(streamer, ids)
    whole = tokenizer.decode(([] if skip else PROMPT[0].tolist()) + ids, skip_special_tokens=True)
    assert "".join(streamer.pieces) == whole
    assert streamer.ended == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=12))
def test_no_piece_ends_within_a_character(text, tokenizer):
    streamer = Pieces(tokenizer, skip_prompt=True)
    feed(streamer, tokenizer.encode(text))
    assert "".join(streamer.pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in streamer.pieces)


def test_it_serves_one_generation_after_the_other(tokenizer):
    streamer = Pieces(tokenizer, skip_prompt=True)
    for _ in range(2):
        feed(streamer, [97, 98])
    assert "".join(streamer.pieces) == "abab"


def test_it_prints(tokenizer, capsys):
    feed(TextStreamer(tokenizer), [33])
    assert capsys.readouterr().out == "Hi!\n"


def test_a_batch_is_refused(tokenizer):
    with pytest.raises(GenerationError, match="batch has 2"):
        TextStreamer(tokenizer).put(torch.zeros(2, 3, dtype=torch.long))


def test_iterating_in_another_thread(scripted, tokenizer):
    model, streamer = scripted(tokenizer.encode("né🙂.")), TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=5)
    arguments = {"inputs": torch.tensor([[65]]), "max_new_tokens": 8, "streamer": streamer}
    thread = threading.Thread(target=model.generate, kwargs=arguments)
    thread.start()
    assert list(streamer) == ["n", "é", "🙂", "."]
    thread.join()


@pytest.mark.parametrize("arguments", [{"nonsense": 1}, {"logits_processor": [lambda ids, scores: 1 / 0]}])
def test_an_error_of_generate_reaches_the_reader(scripted, tokenizer, arguments):
    model, streamer = scripted([65, 66]), TextIteratorStreamer(tokenizer, timeout=5)
    with pytest.raises((TypeError, ZeroDivisionError)) as raised:
        model.generate(torch.tensor([[65]]), max_new_tokens=2, streamer=streamer, **arguments)
    with pytest.raises(type(raised.value)):
        list(streamer)
    with pytest.raises(StopIteration):
        next(streamer)


def test_waiting_has_an_end(tokenizer):
    with pytest.raises(Empty):
        next(TextIteratorStreamer(tokenizer, timeout=0.01))


def test_iterating_in_a_coroutine(scripted, tokenizer):
    model = scripted(tokenizer.encode("é!"))

    async def read(**arguments):
        streamer = AsyncTextIteratorStreamer(tokenizer, skip_prompt=True, timeout=5)

        def work():
            with contextlib.suppress(TypeError):
                model.generate(torch.tensor([[65]]), max_new_tokens=3, streamer=streamer, **arguments)

        thread = threading.Thread(target=work)
        thread.start()
        pieces = [piece async for piece in streamer]
        thread.join()
        return pieces

    assert asyncio.run(read()) == ["é", "!"]
    with pytest.raises(TypeError, match="nonsense"):
        asyncio.run(read(nonsense=1))


def test_a_reader_that_is_gone_does_not_hide_the_error(scripted, tokenizer):
    async def make():
        return AsyncTextIteratorStreamer(tokenizer)

    with pytest.raises(TypeError, match="nonsense"):
        scripted([65]).generate(torch.tensor([[65]]), max_new_tokens=2, streamer=asyncio.run(make()), nonsense=1)


def test_a_streamer_that_only_knows_put_and_end_is_ended(scripted):
    calls = []

    class Foreign:
        def put(self, value):
            calls.append(value.tolist())

        def end(self):
            calls.append("end")

    scripted([5, 6]).generate(torch.tensor([[1]]), max_new_tokens=2, streamer=Foreign())
    assert calls == [[[1]], [5], [6], "end"]
    with pytest.raises(TypeError):
        scripted([5]).generate(torch.tensor([[1]]), streamer=Foreign(), nonsense=1)
    assert calls[4:] == ["end"]
