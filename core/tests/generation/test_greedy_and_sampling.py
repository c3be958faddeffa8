"""Greedy decoding and sampling: the right tokens, however they are computed."""

from __future__ import annotations

import itertools

import pytest
import torch

from transept.errors import GenerationError
from transept.generation import GenerationConfig, LogitsProcessor, MaxLengthCriteria

PROMPT = torch.tensor([[3, 17, 8, 25]])
BATCH = [[3, 17, 8, 25], [9, 1], [30, 2, 11, 5, 7, 21]]
PAD = 39


def by_hand(model, ids, steps):
    for _ in range(steps):
        logits = model(input_ids=ids).logits[:, -1]
        ids = torch.cat((ids, logits.argmax(-1, keepdim=True)), 1)
    return ids


def left_padded(rows):
    width = max(map(len, rows))
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in rows])
    return ids, (ids != PAD).long()


def steps_of(model, ids, **kwargs):
    return model.generate(ids, return_dict_in_generate=True, output_scores=True, output_logits=True, max_new_tokens=8, **kwargs)


def test_greedy_is_the_likeliest_token_each_time(model):
    out = model.generate(PROMPT, max_new_tokens=20)
    assert torch.equal(out, by_hand(model, PROMPT, 20))
    assert out.is_contiguous()


def test_with_and_without_cache_give_the_same_scores_at_each_step(model):
    cached, plain = steps_of(model, PROMPT), steps_of(model, PROMPT, use_cache=False)
    assert torch.equal(cached.sequences, plain.sequences)
    torch.testing.assert_close(torch.stack(cached.scores), torch.stack(plain.scores), rtol=1e-4, atol=1e-4)
    assert plain.past_key_values is None
    assert cached.past_key_values.get_seq_length() == PROMPT.shape[1] + 7


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_left_padded_batch_equals_each_row_alone(model, use_cache):
    ids, mask = left_padded(BATCH)
    batch = steps_of(model, ids, attention_mask=mask, use_cache=use_cache, pad_token_id=PAD)
    for row, prompt in enumerate(BATCH):
        single = steps_of(model, torch.tensor([prompt]), use_cache=use_cache)
        assert batch.sequences[row, ids.shape[1] :].tolist() == single.sequences[0, len(prompt) :].tolist()
        got = torch.stack(batch.logits)[:, row]
        torch.testing.assert_close(got, torch.stack(single.logits)[:, 0], rtol=1e-4, atol=1e-4)


def test_one_token_a_step_runs_through_the_model_with_a_cache(model):
    model.generate(PROMPT, max_new_tokens=5)
    assert [call[0].shape[1] for call in model.calls] == [4, 1, 1, 1, 1]
    assert all(mask is None and positions is None for _, mask, positions in model.calls)


def test_chunks_of_the_prompt_give_the_same(model):
    whole = steps_of(model, PROMPT.repeat(1, 3))
    model.calls.clear()
    chunked = steps_of(model, PROMPT.repeat(1, 3), prefill_chunk_size=5)
    assert [call[0].shape[1] for call in model.calls][:4] == [5, 5, 2, 1]
    assert torch.equal(whole.sequences, chunked.sequences)
    torch.testing.assert_close(whole.scores[0], chunked.scores[0], rtol=1e-4, atol=1e-4)


def test_chunks_of_a_padded_prompt_give_the_same(model):
    ids, mask = left_padded(BATCH)
    whole = steps_of(model, ids, attention_mask=mask)
    assert torch.equal(whole.sequences, steps_of(model, ids, attention_mask=mask, prefill_chunk_size=2).sequences)


def test_embeddings_as_the_prompt(model):
    expected = model.generate(PROMPT, max_new_tokens=6)
    embeds = model.embed(PROMPT)
    assert torch.equal(model.generate(inputs_embeds=embeds, max_new_tokens=6), expected[:, 4:])
    assert torch.equal(model.generate(PROMPT, inputs_embeds=embeds, max_new_tokens=6), expected)
    assert torch.equal(model.generate(inputs_embeds=embeds, max_length=10), expected[:, 4:])
    ids, mask = left_padded(BATCH)
    padded = model.generate(inputs_embeds=model.embed(ids), attention_mask=mask, max_new_tokens=6)
    assert torch.equal(padded, model.generate(ids, attention_mask=mask, max_new_tokens=6)[:, ids.shape[1] :])
    with pytest.raises(GenerationError, match="inputs_embeds"):
        model.generate(inputs_embeds=embeds, use_cache=False, max_new_tokens=2)


def test_a_cache_is_continued(model):
    expected = model.generate(PROMPT, max_new_tokens=12)
    first = steps_of(model, PROMPT)
    model.calls.clear()
    second = model.generate(first.sequences, past_key_values=first.past_key_values, max_new_tokens=4)
    assert [call[0].shape[1] for call in model.calls] == [1, 1, 1, 1]
    assert torch.equal(second, expected)

    first = steps_of(model, PROMPT)  # only the new tokens, with a mask over all of them
    new, mask = first.sequences[:, -1:], torch.ones(1, 12, dtype=torch.long)
    third = model.generate(new, past_key_values=first.past_key_values, attention_mask=mask, max_new_tokens=4)
    assert torch.equal(third, expected[:, 11:])


def test_a_padded_cache_is_continued(model):
    ids, mask = left_padded(BATCH)
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=12)
    first = steps_of(model, ids, attention_mask=mask)
    mask = torch.cat((mask, torch.ones(3, 8, dtype=torch.long)), 1)
    second = model.generate(first.sequences, attention_mask=mask, past_key_values=first.past_key_values, max_new_tokens=4)
    assert torch.equal(second, expected)


def test_a_cache_that_holds_the_whole_prompt_is_refused(model):
    first = steps_of(model, PROMPT)
    cache = first.past_key_values
    with pytest.raises(GenerationError, match="hold 11 tokens, and the prompt has 4"):
        model.generate(PROMPT, past_key_values=cache, max_new_tokens=2)
    with pytest.raises(GenerationError, match="cache_implementation"):
        model.generate(first.sequences, past_key_values=cache, cache_implementation="dynamic", max_new_tokens=2)


def test_rows_end_by_themselves_and_are_filled(scripted):
    model = scripted([5, 9, 6, 6], [4, 4, 8, 6])
    out = model.generate(torch.tensor([[1], [1]]), eos_token_id=[9, 8], pad_token_id=0, max_new_tokens=6)
    assert out.tolist() == [[1, 5, 9, 0], [1, 4, 4, 8]]
    out = model.generate(torch.tensor([[1], [1]]), eos_token_id=[9, 8], max_new_tokens=6, attention_mask=torch.ones(2, 1))
    assert out.tolist() == [[1, 5, 9, 9], [1, 4, 4, 8]]  # no pad token: the first end of sequence


def test_a_generator_makes_sampling_reproducible(model):
    def draw(seed, **kwargs):
        return model.generate(
            PROMPT, do_sample=True, max_new_tokens=10, generator=torch.Generator().manual_seed(seed), **kwargs
        ).tolist()

    assert draw(1) == draw(1)
    assert len({str(draw(seed)) for seed in range(5)}) == 5
    assert len({str(row) for row in draw(1, num_return_sequences=6)}) == 6
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    draw(3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_samples_follow_the_distribution(model):
    logits = model(input_ids=PROMPT).logits[0, -1]
    expected = (logits / 1.5).softmax(-1)
    torch.manual_seed(0)
    options = {"temperature": 1.5, "top_k": 0, "num_return_sequences": 4000, "max_new_tokens": 1}
    drawn = model.generate(PROMPT, do_sample=True, **options)[:, -1]
    measured = torch.bincount(drawn, minlength=40) / 4000
    assert (measured - expected).abs().sum() / 2 < 0.05  # total variation

    drawn = model.generate(PROMPT, do_sample=True, **{**options, "top_k": 3})[:, -1]
    assert set(drawn.tolist()) == set(logits.topk(3).indices.tolist())


def test_num_return_sequences_repeats_rows_in_place(model):
    ids, mask = left_padded(BATCH)
    out = model.generate(ids, attention_mask=mask, do_sample=True, num_return_sequences=2, max_new_tokens=3)
    assert torch.equal(out[:, : ids.shape[1]], ids.repeat_interleave(2, 0))


def test_temperature_zero_is_greedy_in_silence(model, recwarn):
    for flags in ({}, {"do_sample": True}):
        out = model.generate(PROMPT, temperature=0, max_new_tokens=6, **flags)
        assert torch.equal(out, by_hand(model, PROMPT, 6))
    assert not recwarn.list


def test_what_is_recorded(model):
    model.generation_config = GenerationConfig(repetition_penalty=2.0)
    out = steps_of(model, PROMPT, output_hidden_states=True, output_attentions=True)
    assert len(out.scores) == len(out.logits) == len(out.hidden_states) == len(out.attentions) == 8
    assert [states[0].shape for states in out.hidden_states][:2] == [(1, 4, 16), (1, 1, 16)]
    assert out.attentions[3][1].shape == (1, 2, 1, 7)
    seen = sorted(set(PROMPT[0].tolist()))
    assert not torch.equal(out.logits[0][:, seen], out.scores[0][:, seen])
    assert torch.equal(out.scores[-1].argmax(-1), out.sequences[:, -1])


def test_transition_scores_are_those_of_the_chosen_tokens(model):
    out = steps_of(model, PROMPT)
    got = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    expected = torch.stack(out.scores, 1).log_softmax(-1)[0, torch.arange(8), out.sequences[0, 4:]]
    torch.testing.assert_close(got[0], expected)


def test_min_length_and_forced_end(model):
    model.generation_config = GenerationConfig()
    first = by_hand(model, PROMPT, 3)[0, 4:].tolist()
    out = model.generate(PROMPT, eos_token_id=first, max_new_tokens=6)
    assert out.shape[1] == 5
    out = model.generate(PROMPT, eos_token_id=first, min_new_tokens=4, max_new_tokens=6, forced_eos_token_id=first[0])
    assert out.shape[1] >= 9
    assert not set(out[0, 4:8].tolist()) & set(first)
    out = model.generate(PROMPT, forced_eos_token_id=7, max_new_tokens=6)
    assert (out.shape[1], int(out[0, -1])) == (10, 7)


def test_bad_words_and_ngrams_do_not_occur(model):
    free = model.generate(PROMPT, max_new_tokens=30)[0].tolist()
    bad = [[free[4]], free[5:7]]
    out = model.generate(PROMPT, bad_words_ids=bad, no_repeat_ngram_size=2, max_new_tokens=30)[0].tolist()
    pairs = list(itertools.pairwise(out))
    assert free[4] not in out[4:]
    assert tuple(free[5:7]) not in pairs[3:]
    assert len(set(pairs)) == len(pairs)


def test_ones_own_processors_and_criteria(model):
    class Always(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return torch.full_like(scores, -1e9).index_fill(1, torch.tensor([6]), 0.0)

    seen = []

    def criterion(input_ids, scores, **kwargs):
        seen.append(input_ids.shape[1])
        return input_ids.shape[1] >= 7

    out = model.generate(PROMPT, logits_processor=[Always()], stopping_criteria=[criterion], max_new_tokens=9)
    assert out.tolist() == [[3, 17, 8, 25, 6, 6, 6]]
    assert seen == [5, 6, 7]


def test_only_allowed_tokens_with_a_prefix_function(model):
    out = model.generate(PROMPT, prefix_allowed_tokens_fn=lambda row, ids: [2, int(ids[-1])], max_new_tokens=4)
    assert set(out[0, 4:].tolist()) <= {2, 25}


def test_guidance_leads_away_from_the_negative_prompt(model):
    scale, negative = 2.0, torch.tensor([[5, 6]])
    ids, other = PROMPT, negative
    for _ in range(5):
        yes = model(input_ids=ids).logits[:, -1].log_softmax(-1)
        no = model(input_ids=other).logits[:, -1].log_softmax(-1)
        token = (no + scale * (yes - no)).argmax(-1, keepdim=True)
        ids, other = torch.cat((ids, token), 1), torch.cat((other, token), 1)
    for use_cache in (True, False):
        options = {"guidance_scale": scale, "negative_prompt_ids": negative, "use_cache": use_cache}
        assert torch.equal(model.generate(PROMPT, max_new_tokens=5, **options), ids)


def test_the_prompts_storage_is_not_written_on(model):
    ids, mask = left_padded(BATCH)
    room = torch.full((3, 50), 7)
    room[:, : ids.shape[1]] = ids
    model.generate(room[:, : ids.shape[1]], attention_mask=mask, max_new_tokens=4)
    assert (room[:, ids.shape[1] :] == 7).all()


def test_token_types_go_on_with_their_last_value(model):
    types = torch.tensor([[0, 0, 1, 1]])
    cached = model.generate(PROMPT, token_type_ids=types, max_new_tokens=5)
    assert torch.equal(cached, model.generate(PROMPT, token_type_ids=types, max_new_tokens=5, use_cache=False))
    assert not torch.equal(cached, model.generate(PROMPT, max_new_tokens=5))


def test_no_gradient_is_recorded_and_the_tokens_can_be_used_in_training(model):
    out = model.generate(PROMPT, max_new_tokens=3)
    assert not out.is_inference()
    model(input_ids=out).logits.sum().backward()


def test_nan_logits_are_named(model):
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    with pytest.raises(GenerationError, match="NaN"):
        model.generate(PROMPT, do_sample=True, max_new_tokens=2)


@pytest.mark.parametrize("use_cache", [True, False])
def test_guidance_for_several_samples_of_one_prompt(model, use_cache):
    options = {
        "guidance_scale": 2.0,
        "use_cache": use_cache,
        "max_new_tokens": 4,
        "negative_prompt_ids": torch.tensor([[5, 6]]),
    }
    greedy = model.generate(PROMPT, **options)
    samples = model.generate(PROMPT, do_sample=True, top_k=1, num_return_sequences=3, **options)
    assert torch.equal(samples, greedy.repeat(3, 1))
    with pytest.raises(GenerationError, match="2 rows for 1"):
        model.generate(PROMPT, **{**options, "negative_prompt_ids": torch.tensor([[5], [6]])})
    with pytest.raises(GenerationError, match="guidance_scale"):
        model.generate(PROMPT, **{**options, "guidance_scale": None})


@pytest.mark.parametrize("answer", [lambda stop: stop, lambda stop: stop.long(), lambda stop: stop.tolist()])
def test_criteria_may_answer_with_flags_of_any_form(scripted, answer):
    model = scripted([5, 9, 6, 6], [4, 4, 8, 6])
    stops = [lambda ids, scores: answer((ids[:, -1:] >= 8).any(-1))]
    out = model.generate(torch.tensor([[1], [1]]), stopping_criteria=stops, pad_token_id=0, max_new_tokens=6)
    assert out.tolist() == [[1, 5, 9, 0], [1, 4, 4, 8]]


def test_the_forced_end_is_where_ones_own_criterion_ends(model):
    out = model.generate(PROMPT, forced_eos_token_id=7, stopping_criteria=[MaxLengthCriteria(7)], max_new_tokens=20)
    assert (out.shape[1], int(out[0, -1])) == (7, 7)
