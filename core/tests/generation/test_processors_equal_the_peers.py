"""Every processor and warper gives what Hugging Face Transformers gives, on random scores and sequences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import transept.generation as ours

peers = pytest.importorskip("transformers.generation.logits_process")

VOCAB = 23


def scores_of(seed, rows=3, vocab=VOCAB, holes=False):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, vocab, generator=generator) * 3
    if holes:  # what another processor has forbidden already
        scores[torch.rand(rows, vocab, generator=generator) < 0.3] = -torch.inf
        scores[:, 0] = 0.5
    return scores


def ids_of(seed, length, rows=3, vocab=VOCAB):
    return torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(seed + 1))


# name, positional arguments
PLAIN = [
    ("MinLengthLogitsProcessor", (5, [1, 4])),
    ("MinLengthLogitsProcessor", (5, 2)),
    ("MinNewTokensLengthLogitsProcessor", (2, 3, [1, 4])),
    ("RepetitionPenaltyLogitsProcessor", (1.3,)),
    ("RepetitionPenaltyLogitsProcessor", (0.7, 2)),
    ("RepetitionPenaltyLogitsProcessor", (1.9, torch.tensor([0, 1, 3]))),
    ("EncoderRepetitionPenaltyLogitsProcessor", (1.5, ids_of(7, 4))),
    ("NoRepeatNGramLogitsProcessor", (1,)),
    ("NoRepeatNGramLogitsProcessor", (2,)),
    ("NoRepeatNGramLogitsProcessor", (3,)),
    ("EncoderNoRepeatNGramLogitsProcessor", (2, ids_of(9, 9, vocab=4))),
    ("EncoderNoRepeatNGramLogitsProcessor", (1, ids_of(9, 9, rows=1, vocab=4)[0])),
    ("SequenceBiasLogitsProcessor", ({(3,): -1.5, (1, 2): 4.0, (2, 2): 1.0, (0, 1, 2): 2.5},)),
    ("SequenceBiasLogitsProcessor", ([[[3], 2.0], [[1, 2], -3.0]],)),
    ("NoBadWordsLogitsProcessor", ([[3], [1, 2], [5, 0, 1], [7]], 7)),
    ("ForcedBOSTokenLogitsProcessor", (6,)),
    ("ForcedEOSTokenLogitsProcessor", (5, [1, 4])),
    ("InfNanRemoveLogitsProcessor", ()),
    ("ExponentialDecayLengthPenalty", ((1, 1.4), [2, 6], 2)),
    ("LogitNormalization", ()),
    ("SuppressTokensLogitsProcessor", ([1, 4, 20],)),
    ("SuppressTokensAtBeginLogitsProcessor", ([1, 4, 20], 4)),
    ("PrefixConstrainedLogitsProcessor", (lambda row, ids: [0, row + 1, 5], 1)),
    ("PrefixConstrainedLogitsProcessor", (lambda row, ids: [int(ids[-1]), 2], 3)),
]
WARPERS = [
    ("TemperatureLogitsWarper", st.floats(0.1, 5)),
    ("TopKLogitsWarper", st.integers(1, 40)),
    ("TopPLogitsWarper", st.floats(0, 1)),
    ("TopHLogitsWarper", st.floats(0.01, 0.99)),
    ("MinPLogitsWarper", st.floats(0, 1)),
    ("TypicalLogitsWarper", st.floats(0.05, 0.95)),
    ("EpsilonLogitsWarper", st.floats(1e-4, 0.5)),
    ("EtaLogitsWarper", st.floats(1e-4, 0.5)),
]


@pytest.mark.parametrize(("name", "arguments"), PLAIN)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), length=st.integers(1, 9), small=st.booleans(), holes=st.booleans())
def test_a_processor_equals_the_peers(name, arguments, seed, length, small, holes):
    ids = ids_of(seed, length, vocab=4 if small else VOCAB)  # few different ids: n-grams do repeat
    scores = scores_of(seed, holes=holes)
    expected = getattr(peers, name)(*arguments)(ids, scores.clone())
    got = getattr(ours, name)(*arguments)(ids, scores)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(scores, scores_of(seed, holes=holes)), "the scores were changed in place"


@pytest.mark.parametrize(("name", "values"), WARPERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10_000), keep=st.integers(1, 4), holes=st.booleans())
def test_a_warper_equals_the_peers(name, values, data, seed, keep, holes):
    value = data.draw(values)
    options = {} if name in ("TemperatureLogitsWarper", "TopHLogitsWarper") else {"min_tokens_to_keep": keep}
    if name == "TopHLogitsWarper":
        holes = False  # the peer's entropy of a forbidden token is NaN
    scores, ids = scores_of(seed, holes=holes), ids_of(seed, 3)
    expected = getattr(peers, name)(value, **options)(ids, scores.clone())
    got = getattr(ours, name)(value, **options)(ids, scores)
    kept, wanted = got.isfinite(), expected.isfinite()
    assert torch.equal(kept, wanted)
    torch.testing.assert_close(got[kept], expected[wanted], rtol=1e-6, atol=1e-6)
    assert (kept.sum(-1) >= 1).all()


def test_ids_past_the_vocabulary_touch_nothing():
    scores = scores_of(1)
    ids = torch.tensor([[VOCAB + 3, 2], [1, VOCAB], [0, 0]])
    for name, arguments in [("RepetitionPenaltyLogitsProcessor", (1.3,)), ("NoRepeatNGramLogitsProcessor", (1,))]:
        expected = getattr(peers, name)(*arguments)(ids, scores.clone())
        torch.testing.assert_close(getattr(ours, name)(*arguments)(ids, scores), expected)
    forbidden = ours.SuppressTokensLogitsProcessor([2, VOCAB + 5])(ids, scores)
    assert forbidden[:, 2].isneginf().all()
    assert torch.equal(forbidden[:, 3:], scores[:, 3:])


def test_infinities_and_nan_become_numbers():
    scores = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1.0]])
    ids = torch.zeros(1, 1, dtype=torch.long)
    expected = peers.InfNanRemoveLogitsProcessor()(ids, scores)
    assert torch.equal(ours.InfNanRemoveLogitsProcessor()(ids, scores), expected)


def test_guidance_of_a_doubled_batch_equals_the_peers():
    scores, ids = scores_of(3, rows=4), ids_of(3, 5, rows=2)
    expected = peers.ClassifierFreeGuidanceLogitsProcessor(2.5)(ids, scores)
    torch.testing.assert_close(ours.ClassifierFreeGuidanceLogitsProcessor(2.5)(ids, scores), expected)
    with pytest.raises(ours.processors.GenerationError, match="2 rows"):
        ours.ClassifierFreeGuidanceLogitsProcessor(2.5)(ids[:1], scores)


def test_a_constraint_that_allows_nothing_says_so():
    with pytest.raises(ours.processors.GenerationError, match="batch entry 0"):
        ours.PrefixConstrainedLogitsProcessor(lambda row, ids: [], 1)(ids_of(0, 2), scores_of(0))


def test_processors_with_further_arguments_get_them():
    class Wants(ours.LogitsProcessor):
        def __call__(self, input_ids, scores, shift):
            return scores + shift

    processors = ours.LogitsProcessorList([ours.TemperatureLogitsWarper(2.0), Wants()])
    scores = scores_of(0)
    torch.testing.assert_close(processors(ids_of(0, 2), scores, shift=3.0), scores / 2 + 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ours.TemperatureLogitsWarper(0.0),
        lambda: ours.TopKLogitsWarper(0),
        lambda: ours.TopPLogitsWarper(1.2),
        lambda: ours.MinPLogitsWarper(-0.1),
        lambda: ours.TypicalLogitsWarper(1.0),
        lambda: ours.EpsilonLogitsWarper(1.0),
        lambda: ours.TopHLogitsWarper(0.0),
        lambda: ours.RepetitionPenaltyLogitsProcessor(0.0),
        lambda: ours.NoRepeatNGramLogitsProcessor(0),
        lambda: ours.SequenceBiasLogitsProcessor({}),
        lambda: ours.SequenceBiasLogitsProcessor({(): 1.0}),
        lambda: ours.SequenceBiasLogitsProcessor({(-1,): 1.0}),
        lambda: ours.NoBadWordsLogitsProcessor([]),
    ],
)
def test_impossible_values_are_refused(make):
    with pytest.raises(ours.processors.GenerationError):
        make()
