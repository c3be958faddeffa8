"""Beam search and beam sampling give the peer's texts, scores and records, token for token."""

import pytest
import torch
import transformers

MANY_ENDS = list(range(10, 40))

SEARCHES = [
    {},
    {"num_beams": 2},
    {"num_beams": 7, "num_return_sequences": 7},
    {"num_return_sequences": 2, "eos_token_id": [11, 12]},
    {"eos_token_id": MANY_ENDS},
    {"eos_token_id": MANY_ENDS, "pad_token_id": 3},
    {"eos_token_id": list(range(10, 20)), "early_stopping": True},
    {"eos_token_id": list(range(10, 20)), "early_stopping": "never"},
    {"eos_token_id": MANY_ENDS, "early_stopping": "never", "length_penalty": 2.0},
    {"eos_token_id": MANY_ENDS, "length_penalty": 0.0},
    {"eos_token_id": MANY_ENDS, "length_penalty": -1.5, "early_stopping": "never"},
    {"eos_token_id": MANY_ENDS, "length_penalty": 3.0, "num_return_sequences": 4},
    {"min_new_tokens": 6, "eos_token_id": MANY_ENDS},
    {"min_length": 10, "eos_token_id": MANY_ENDS, "num_return_sequences": 2},
    {"max_length": 9, "max_new_tokens": None, "eos_token_id": [11, 12]},
    {"max_new_tokens": 1, "num_return_sequences": 3},
    {"repetition_penalty": 1.4},
    {"no_repeat_ngram_size": 2},
    {"bad_words_ids": [[8], [33, 2]], "sequence_bias": [[[7], 3.0], [[4, 5], -4.0]]},
    {"eos_token_id": MANY_ENDS, "forced_eos_token_id": 12, "begin_suppress_tokens": [7, 20]},
    {"exponential_decay_length_penalty": (2, 1.6), "eos_token_id": 11, "suppress_tokens": [1, 2, 3]},
    {"encoder_repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 2, "remove_invalid_values": True},
    {"renormalize_logits": True, "repetition_penalty": 1.2},
    {"prefix_allowed_tokens_fn": lambda row, ids: [3, 4, 5, 6 + row, 11], "eos_token_id": 11},
    {"use_cache": False, "eos_token_id": [11, 12]},
    {"cache_implementation": "static", "eos_token_id": [11, 12]},
    {"prefill_chunk_size": 4},
]
SAMPLES = [
    {},
    {"temperature": 0.6, "top_k": 12, "top_p": 0.8},
    {"top_k": 2, "num_return_sequences": 4, "eos_token_id": [11, 12]},
    {"top_k": 0, "typical_p": 0.9, "eos_token_id": MANY_ENDS, "early_stopping": True},
    {"top_k": 0, "min_p": 0.05, "epsilon_cutoff": 0.01, "eta_cutoff": 0.02, "renormalize_logits": True},
    {"num_beams": 6, "eos_token_id": MANY_ENDS, "length_penalty": 0.5, "use_cache": False},
]


def assert_alike(got, expected, *, close=1e-4):
    assert list(got.keys()) == list(expected.keys())
    assert got.sequences.tolist() == expected.sequences.tolist()
    assert torch.equal(got.beam_indices, expected.beam_indices)
    torch.testing.assert_close(got.sequences_scores, expected.sequences_scores, rtol=close, atol=close)
    for name in ("scores", "logits"):
        for ours, theirs in zip(got[name], expected[name], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=close, atol=close)


@pytest.mark.parametrize("padded", [True, False], ids=["three", "one"])
@pytest.mark.parametrize("settings", SEARCHES, ids=lambda settings: ",".join(settings) or "plain")
def test_a_search_finds_the_peers_texts(pair, settings, padded):
    prompt = {} if padded else {"input_ids": torch.tensor([[7, 8, 7, 8, 7, 8]]), "attention_mask": None}
    outputs = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    expected, got = pair.generate(**{"num_beams": 4, "do_sample": False, **prompt, **outputs, **settings})
    assert_alike(got, expected)


@pytest.mark.parametrize("settings", SAMPLES, ids=lambda settings: ",".join(settings) or "plain")
def test_sampling_draws_the_peers_texts_with_its_seed(pair, settings):
    outputs = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    expected, got = pair.generate(**{"num_beams": 4, "do_sample": True, **outputs, **settings})
    assert_alike(got, expected)


def test_without_a_dict_only_the_texts_come(pair):
    settings = {"num_beams": 3, "num_return_sequences": 2, "eos_token_id": MANY_ENDS}
    expected, got = pair.generate(**settings)
    assert torch.equal(got, expected)


def test_states_and_attentions_are_the_peers(pair):
    kept = {"output_attentions": True, "output_hidden_states": True, "return_dict_in_generate": True}
    prompts = torch.tensor([[7, 8, 9], [3, 5, 60]])  # no padding: rows of it have no keys, for which we give zeros
    expected, got = pair.generate(input_ids=prompts, attention_mask=None, num_beams=3, max_new_tokens=4, **kept)
    assert list(got.keys()) == list(expected.keys())
    for name in ("attentions", "hidden_states"):
        for ours, theirs in zip(got[name], expected[name], strict=True):  # a step
            for layer, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(layer, other, rtol=1e-4, atol=1e-4)


def test_scores_of_an_output_come_only_when_asked_for(pair):
    _, got = pair.generate(num_beams=3, return_dict_in_generate=True)
    assert got.sequences_scores is None
    assert got.scores is None
    assert got.beam_indices.shape == (3, 12)


@pytest.mark.parametrize("normalize", [False, True])
def test_transition_scores_are_the_peers(pair, normalize):
    kept = {"return_dict_in_generate": True, "output_scores": True, "num_return_sequences": 3}
    expected, got = pair.generate(num_beams=4, eos_token_id=MANY_ENDS, **kept)
    theirs = pair.peer.compute_transition_scores(
        expected.sequences, expected.scores, expected.beam_indices, normalize_logits=normalize
    )
    ours = pair.ours.compute_transition_scores(got.sequences, got.scores, got.beam_indices, normalize_logits=normalize)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_criterion_sees_the_candidates_that_the_peer_shows_it(pair):
    seen = []

    class Even(transformers.StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            seen.append(input_ids.clone())
            return (input_ids[:, -1] % 5 == 0) & (input_ids[:, -2] % 2 == 0)

    expected, got = pair.generate(num_beams=3, stopping_criteria=transformers.StoppingCriteriaList([Even()]), eos_token_id=11)
    assert torch.equal(got, expected)
    half = len(seen) // 2
    assert [ids.tolist() for ids in seen[:half]] == [ids.tolist() for ids in seen[half:]]


def test_a_processor_of_the_users_sees_the_beams(pair):
    class NoDouble(transformers.LogitsProcessor):
        def __call__(self, input_ids, scores):
            return scores.scatter(1, input_ids[:, -1:], -torch.inf)

    expected, got = pair.generate(num_beams=4, logits_processor=transformers.LogitsProcessorList([NoDouble()]))
    assert torch.equal(got, expected)
    assert not (got[:, 6:-1] == got[:, 7:]).any()


def test_embeddings_may_be_the_prompt(pair):
    embeds = pair.peer.get_input_embeddings()(torch.tensor([[7, 8, 9], [3, 5, 60]])).detach()
    settings = {"input_ids": None, "attention_mask": torch.ones(2, 3, dtype=torch.long), "inputs_embeds": embeds}
    expected, got = pair.generate(num_beams=3, eos_token_id=MANY_ENDS, **settings)
    assert torch.equal(got, expected)


def test_a_cache_that_is_filled_already_goes_on(pair):
    prompt = torch.tensor([[7, 8, 7, 8, 7, 8]])
    whole = pair.ours.generate(prompt, num_beams=3, max_new_tokens=8)
    cache = pair.ours(prompt[:, :4], use_cache=True).past_key_values
    assert torch.equal(pair.ours.generate(prompt, past_key_values=cache, num_beams=3, max_new_tokens=8), whole)
