"""What beams cannot serve is one clear error; what has no effect is a warning."""

import pytest
import torch

from transept.errors import GenerationError

PROMPT = torch.tensor([[7, 8, 50, 9]])


class Listener:
    def __init__(self):
        self.heard = []

    def put(self, value):
        self.heard.append(value)

    def end(self):
        self.heard.append("end")


@pytest.mark.parametrize("do_sample", [False, True])
def test_a_streamer_is_refused_before_anything_is_sent(pair, do_sample):
    listener = Listener()
    with pytest.raises(GenerationError, match="`streamer` cannot take back"):
        pair.ours.generate(PROMPT, num_beams=2, do_sample=do_sample, max_new_tokens=3, streamer=listener)
    assert listener.heard == ["end"]


def test_a_streamer_is_refused_with_one_beam_too(pair):
    with pytest.raises(GenerationError, match="`streamer` cannot take back"):
        pair.ours.generate(PROMPT, decoding="beam_search", max_new_tokens=3, streamer=Listener())


def test_more_texts_than_beams_are_refused(pair):
    with pytest.raises(GenerationError, match=r"num_return_sequences=3.*num_beams=2"):
        pair.ours.generate(PROMPT, num_beams=2, num_return_sequences=3, max_new_tokens=3)


def test_group_beams_ask_for_another_plugin(pair):
    with pytest.raises(LookupError, match="group_beam_search"):
        pair.ours.generate(PROMPT, num_beams=4, num_beam_groups=2, diversity_penalty=0.5, max_new_tokens=3)


@pytest.mark.parametrize("flag", [{"diversity_penalty": 0.5}, {"low_memory": True}])
def test_a_flag_without_effect_is_named(pair, flag):
    with pytest.warns(UserWarning, match=f"`{next(iter(flag))}` has no effect"):
        pair.ours.generate(PROMPT, num_beams=2, max_new_tokens=2, **flag)


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_scores_that_leave_nothing_are_an_error(pair, do_sample, value):
    def ruin(input_ids, scores):
        return torch.full_like(scores, value)

    with pytest.raises(GenerationError, match="The scores leave no text"):
        pair.ours.generate(PROMPT, num_beams=2, do_sample=do_sample, max_new_tokens=3, logits_processor=[ruin])


def test_no_new_tokens_give_the_prompt(pair):
    rows = torch.tensor([[7, 8], [9, 10]])
    got = pair.ours.generate(
        rows, num_beams=3, num_return_sequences=2, max_new_tokens=0, return_dict_in_generate=True, output_scores=True
    )
    assert got.sequences.tolist() == [[7, 8], [7, 8], [9, 10], [9, 10]]
    assert got.sequences_scores.tolist() == [0, 0, 0, 0]
    assert got.beam_indices.shape == (4, 0)
