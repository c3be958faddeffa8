"""Stop strings are found in the text, wherever the tokens' borders are, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transept.errors import GenerationError
from transept.generation import GenerationConfig, MaxTimeCriteria, StoppingCriteriaList, StopStringCriteria


def steps(criterion, prompt, generated):
    """Number of generated tokens after which the criterion stops; None if it never does."""
    for count in range(1, len(generated) + 1):
        if bool(criterion(torch.tensor([prompt + generated[:count]]), None)):
            return count
    return None


def test_inside_a_token(tokenizer):
    generated = [*tokenizer.encode("x"), tokenizer.id_of("ab\ncd"), *tokenizer.encode("y")]
    assert steps(StopStringCriteria(tokenizer, "\n", 1), [65], generated) == 2
    assert steps(StopStringCriteria(tokenizer, ["zz", "b\nc"], 1), [65], generated) == 2


def test_across_tokens_and_characters_of_several_bytes(tokenizer):
    generated = [*tokenizer.encode("une an"), tokenizer.id_of("né"), *tokenizer.encode("e 🙂 é")]
    text = tokenizer.decode(generated)
    assert steps(StopStringCriteria(tokenizer, "née", 1), [65], generated) == 8
    assert (
        steps(StopStringCriteria(tokenizer, "🙂", 1), [65], generated)
        == len(tokenizer.encode(text[: text.index("🙂") + 1])) - 2
    )


def test_the_text_of_a_special_token(tokenizer):
    assert steps(StopStringCriteria(tokenizer, "<end>", 1), [65], [66, 67, 256, 68]) == 3


def test_not_what_stands_in_the_prompt_already(tokenizer):
    prompt = tokenizer.encode("Stop\nStop\n")
    for prompt_length in (len(prompt), None):
        assert steps(StopStringCriteria(tokenizer, "Stop", prompt_length), prompt, tokenizer.encode("go on")) is None
    assert steps(StopStringCriteria(tokenizer, "Stop", len(prompt)), prompt, tokenizer.encode("go Stop on")) == 7


def test_a_string_that_begins_in_the_prompt(tokenizer):
    prompt, generated = tokenizer.encode("foo\n"), tokenizer.encode("\nbar")
    assert steps(StopStringCriteria(tokenizer, "\n\n", len(prompt)), prompt, generated) is None
    assert steps(StopStringCriteria(tokenizer, "\n\n"), prompt, generated) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    generated=st.lists(st.sampled_from([97, 98, 10, 257, 261, 258]), min_size=1, max_size=30),
    stop=st.text("ab\ncé", min_size=1, max_size=4),
    prompt=st.lists(st.sampled_from([97, 98, 10]), min_size=1, max_size=12),
)
def test_it_stops_at_the_first_token_after_which_the_text_holds_the_string(generated, stop, prompt, tokenizer):
    expected = next((n for n in range(1, len(generated) + 1) if stop in tokenizer.decode(generated[:n])), None)
    assert steps(StopStringCriteria(tokenizer, stop, len(prompt)), prompt, generated) == expected


def test_rows_stop_one_by_one(tokenizer):
    rows = torch.tensor([tokenizer.encode("ab!"), tokenizer.encode("abc")])
    assert StopStringCriteria(tokenizer, ["!", "?"], 1)(rows, None).tolist() == [True, False]


def test_empty_strings_are_refused(tokenizer):
    for strings in ("", [], ["a", ""], [3]):
        with pytest.raises(GenerationError, match="stop_strings"):
            StopStringCriteria(tokenizer, strings)


def test_generate_stops_rows_at_their_own_place_and_pads(scripted, tokenizer):
    model = scripted(tokenizer.encode("one\ntwo."), tokenizer.encode("three\nx."))
    config = GenerationConfig(stop_strings=["\n"], max_new_tokens=8, pad_token_id=0, use_cache=False)
    out = model.generate(torch.tensor([[65], [65]]), generation_config=config, tokenizer=tokenizer)
    assert [tokenizer.decode(row) for row in out[:, 1:].tolist()] == ["one\n\0\0", "three\n"]
    with pytest.raises(GenerationError, match="tokenizer"):
        model.generate(torch.tensor([[65]]), generation_config=config)


def test_time_runs_out(scripted):
    model = scripted([1, 2, 3, 4])
    out = model.generate(torch.tensor([[5]]), max_new_tokens=4, max_time=1e-9)
    assert out.tolist() == [[5, 1]]
    assert MaxTimeCriteria(60, initial_timestamp=0)(out, None).tolist() == [True]
    assert StoppingCriteriaList([MaxTimeCriteria(60)])(out, None).tolist() == [False]
