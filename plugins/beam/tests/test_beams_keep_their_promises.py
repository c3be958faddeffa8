"""What holds for any beam search, whoever wrote it: scores are those of the texts, and enough beams find the best of all."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from transept_beam.search import beam_search

PROMPT = torch.tensor([[7, 8, 50, 9]])


def log_probabilities(model, texts, prompt_length):
    """Of each token behind the prompt, (texts, new tokens), by one plain forward."""
    with torch.no_grad():
        logits = model(texts).logits[:, prompt_length - 1 : -1]
    return logits.log_softmax(-1).gather(2, texts[:, prompt_length:, None])[..., 0]


SETTINGS = st.fixed_dictionaries(
    {
        "num_beams": st.integers(2, 5),
        "length_penalty": st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0]),
        "early_stopping": st.sampled_from([True, False, "never"]),
        "max_new_tokens": st.integers(1, 9),
        "eos_token_id": st.lists(st.integers(1, 63), min_size=1, max_size=12, unique=True),
        "use_cache": st.booleans(),
    }
)


@examples(max_examples=25)
@given(SETTINGS, st.booleans(), st.data())
def test_a_score_is_the_sum_of_the_texts_log_probabilities(pair, settings, do_sample, data):
    answers = data.draw(st.integers(1, settings["num_beams"]))
    warpers = {"top_k": 0} if do_sample else {}  # nothing that changes what a token is worth
    kept = {"return_dict_in_generate": True, "output_scores": True, "num_return_sequences": answers}
    got = pair.ours.generate(PROMPT, do_sample=do_sample, pad_token_id=0, **settings, **warpers, **kept)
    chosen = log_probabilities(pair.ours, got.sequences, PROMPT.shape[1])
    ended = torch.isin(got.sequences[:, PROMPT.shape[1] :], torch.tensor(settings["eos_token_id"])).long()
    counts = ended.cumsum(1) - ended == 0  # up to the first end, which counts too
    lengths = counts.sum(1)
    expected = (chosen * counts).sum(1) / lengths ** settings["length_penalty"]
    torch.testing.assert_close(got.sequences_scores, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(got.beam_indices >= 0, counts)
    # the same number by way of the steps' scores
    steps = pair.ours.compute_transition_scores(got.sequences, got.scores, got.beam_indices)
    torch.testing.assert_close(steps.sum(1) / lengths ** settings["length_penalty"], expected, rtol=1e-4, atol=1e-4)
    assert got.sequences_scores.diff().le(1e-5).all(), "the best comes first"
    assert len({tuple(row) for row in got.sequences.tolist()}) == answers


@examples(max_examples=15)
@given(
    st.lists(st.lists(st.integers(1, 63), min_size=3, max_size=3), min_size=1, max_size=3),
    st.lists(st.integers(1, 63), max_size=8, unique=True),
    st.integers(1, 10),
    st.booleans(),
)
def test_one_beam_is_greedy(pair, rows, ends, length, use_cache):
    settings = {"max_new_tokens": length, "pad_token_id": 0, "use_cache": use_cache}
    settings |= {"eos_token_id": ends} if ends else {}
    for row in torch.tensor(rows)[:, None]:
        assert torch.equal(pair.ours.generate(row, decoding=one_beam, **settings), pair.ours.generate(row, **settings))


def one_beam(session):
    session.config.early_stopping = True  # the first end that is the likeliest token ends the text, as greedy decoding has it
    return beam_search(session)


@pytest.mark.parametrize("ends", [None, 4, [0, 3]], ids=str)
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.5])
def test_enough_beams_find_the_best_of_all_texts(tiny, ends, length_penalty):
    prompt, longest, vocab = torch.tensor([[1, 2]]), 4, 5
    stop = [] if ends is None else [ends] if isinstance(ends, int) else ends
    texts = {}
    for tokens in itertools.product(range(vocab), repeat=longest):
        end = next((i + 1 for i, token in enumerate(tokens) if token in stop), longest)
        texts[tokens[:end]] = None
    for tokens in texts:
        row = torch.cat((prompt, torch.tensor([tokens])), 1)
        texts[tokens] = float(log_probabilities(tiny, row, 2).sum() / len(tokens) ** length_penalty)
    best = sorted(texts, key=texts.get, reverse=True)[:6]
    got = tiny.generate(
        prompt,
        num_beams=vocab ** (longest - 1),
        num_return_sequences=6,
        max_new_tokens=longest,
        length_penalty=length_penalty,
        early_stopping="never",
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        **({} if ends is None else {"eos_token_id": ends}),
    )
    torch.testing.assert_close(got.sequences_scores, torch.tensor([texts[tokens] for tokens in best]), rtol=1e-4, atol=1e-4)
    for row, tokens in zip(got.sequences.tolist(), best, strict=True):
        assert tuple(row[2 : 2 + len(tokens)]) == tokens


def test_a_text_alone_and_in_a_batch_is_the_same(pair):
    rows, mask = torch.tensor([[0, 0, 5, 9], [7, 8, 50, 9]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    settings = {"num_beams": 4, "max_new_tokens": 10, "eos_token_id": [11, 12, 13, 14], "pad_token_id": 11}
    together = pair.ours.generate(rows, attention_mask=mask, **settings)
    for row, alone in zip(together, (torch.tensor([[5, 9]]), rows[1:]), strict=True):
        text = pair.ours.generate(alone, **settings)[0, alone.shape[1] :].tolist()
        assert row[4 : 4 + len(text)].tolist() == text


def test_sampling_draws_each_text_as_often_as_its_probability_says(tiny):
    prompt = torch.tensor([[1, 2]])
    probabilities = tiny(prompt).logits[0, -1].softmax(-1)
    # the first draw of several without replacement follows the distribution, so a single new token of a single beam does
    generator = torch.Generator().manual_seed(3)
    many = prompt.expand(4000, -1)
    drawn = tiny.generate(
        many, decoding="beam_sample", do_sample=True, top_k=0, num_beams=1, max_new_tokens=1, generator=generator
    )
    counts = torch.bincount(drawn[:, -1], minlength=5) / len(many)
    assert (counts - probabilities).abs().max() < 0.03


def test_a_generator_is_the_source_of_chance(pair):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return pair.ours.generate(PROMPT, num_beams=3, do_sample=True, max_new_tokens=10, generator=generator).tolist()

    assert draw(1) == draw(1)
    assert len({str(draw(seed)) for seed in range(5)}) > 1
