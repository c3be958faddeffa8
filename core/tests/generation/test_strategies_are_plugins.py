"""A decoding strategy of a stranger works with the session alone."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from transept.discovery import registry
from transept.errors import UnknownArgumentError
from transept.generation import run
from transept_hookspecs import DecodingSpec, hookimpl

PROMPT = torch.tensor([[3, 17, 8, 25]])


def try_ahead(session):
    """Greedy, three tokens at a time: guesses are tried at once, and what disagrees is taken back."""
    guess = session.arguments.get("guess", lambda ids: torch.zeros(ids.shape[0], 2, dtype=torch.long))
    while not session.finished:
        tried = guess(session.input_ids)
        choice = session.forward(tried).argmax(-1)  # (batch, tried + 1)
        agreed = int((choice[:, :-1] == tried).all(0).long().cumprod(0).sum())
        for column in range(agreed + 1):
            if not session.finished:
                session.append(choice[:, column])
        session.crop(session.length - 1)
    return session.result()


@pytest.mark.parametrize("use_cache", [True, False])
def test_tokens_are_tried_and_taken_back(model, use_cache):
    expected = model.generate(PROMPT, max_new_tokens=12)
    answers = expected[0].tolist()

    def oracle(ids):  # right twice in three times
        begin = ids.shape[1]
        known = [*answers[begin : begin + 2], 0, 0][:2]
        return torch.tensor([known if begin % 3 else [known[0], 39]])

    def decode(session):
        session.arguments["guess"] = oracle
        return try_ahead(session)

    model.calls.clear()
    assert torch.equal(model.generate(PROMPT, decoding=decode, max_new_tokens=12, use_cache=use_cache), expected)
    assert len(model.calls) < 8
    assert torch.equal(model.generate(PROMPT, decoding=try_ahead, max_new_tokens=12, use_cache=use_cache), expected)


def test_tried_tokens_with_padding(model):
    ids, mask = torch.tensor([[39, 39, 3, 5], [7, 8, 9, 10]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=7)
    assert torch.equal(model.generate(ids, attention_mask=mask, decoding=try_ahead, max_new_tokens=7), expected)


def test_rows_are_reordered(model):
    ids = torch.tensor([[3, 17], [9, 1]])

    def swap(session):
        session.append(session.forward()[:, -1].argmax(-1))
        session.reorder(torch.tensor([1, 0]))
        return run(session, lambda scores: scores.argmax(-1))

    swapped = model.generate(ids, decoding=swap, max_new_tokens=6)
    assert torch.equal(swapped, model.generate(ids, max_new_tokens=6).flip(0))


@pytest.fixture
def plugin(monkeypatch):
    """A strategy with an argument of its own, registered for the test; and what an observer heard."""
    module = ModuleType("toy_strategy")
    module.heard = []

    def worst(session):
        module.rank = session.arguments["rank"]
        return run(session, lambda scores: scores.argsort(-1)[:, module.rank])

    @hookimpl
    def provide_decoding():
        return [DecodingSpec(key="worst", decode="toy_strategy:worst", arguments=("rank",))]

    @hookimpl
    def generation_started(model, input_length, batch_size):
        module.heard.append(("started", input_length, batch_size))

    @hookimpl
    def generation_step(model, step):
        module.heard.append(("step", step))

    @hookimpl
    def generation_finished(model, new_tokens, seconds):
        module.heard.append(("finished", new_tokens))

    for hook in (worst, provide_decoding, generation_started, generation_step, generation_finished):
        setattr(module, hook.__name__, hook)
    monkeypatch.setitem(sys.modules, "toy_strategy", module)
    with registry.register(module, "toy"):
        yield module


def test_a_registered_strategy_gets_its_own_arguments(model, plugin):
    out = model.generate(PROMPT, decoding="worst", rank=0, max_new_tokens=2)
    assert int(out[0, 4]) == int(model(input_ids=PROMPT).logits[0, -1].argmin())
    assert plugin.rank == 0
    with pytest.raises(UnknownArgumentError, match="rank"):
        model.generate(PROMPT, rank=0, max_new_tokens=2)


def test_observers_hear_of_it(model, plugin):
    model.generate(PROMPT, max_new_tokens=2)
    assert plugin.heard == [("started", 4, 1), ("step", 1), ("step", 2), ("finished", 2)]


def test_prepare_inputs_is_looked_up_on_the_model_at_each_step(model):
    steps = []
    original = model.prepare_inputs_for_generation

    def swapped(*args, **kwargs):
        steps.append(kwargs["is_first_iteration"])
        return original(*args, **kwargs)

    model.prepare_inputs_for_generation = swapped
    model.generate(PROMPT, max_new_tokens=3)
    assert steps == [True, False, False]


def test_a_library_may_put_a_cache_of_its_own_in_place_of_an_empty_one(model):
    """Prefix tuning: keys and values that no token stands for come before the prompt."""
    prefix = model.generate(torch.tensor([[30, 31, 32]]), max_new_tokens=1, return_dict_in_generate=True).past_key_values
    plain = model.generate(torch.tensor([[30, 31, 32, 3, 17, 8, 25]]), max_new_tokens=5)
    original = model.prepare_inputs_for_generation

    def injecting(*args, **kwargs):
        inputs = original(*args, **kwargs)
        if inputs.get("past_key_values") is None:
            inputs["past_key_values"] = prefix
        return inputs

    model.prepare_inputs_for_generation = injecting
    assert torch.equal(model.generate(PROMPT, max_new_tokens=5), plain[:, 3:])
