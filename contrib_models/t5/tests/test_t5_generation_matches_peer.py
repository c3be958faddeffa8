"""Text: token for token the peer's, however it is decoded."""

import pytest
import torch

WAYS = {
    "greedy": {"max_new_tokens": 12},
    "without a cache": {"max_new_tokens": 12, "use_cache": False},
    "static cache": {"max_new_tokens": 12, "cache_implementation": "static"},
    "another start": {"max_new_tokens": 8, "decoder_start_token_id": 5},
    "ends": {"max_new_tokens": 12, "eos_token_id": [1, *range(40, 70)]},
    "sampled": {"max_new_tokens": 8, "do_sample": True, "top_k": 20, "temperature": 1.3},
    "several samples": {"max_new_tokens": 5, "do_sample": True, "num_return_sequences": 3},
    "penalties": {"max_length": 12, "min_length": 8, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    "encoder penalties": {"max_new_tokens": 8, "encoder_no_repeat_ngram_size": 2, "encoder_repetition_penalty": 1.5},
}


@pytest.fixture
def prompts(ids):
    """Three prompts, padded on the right, on the left, and not at all; and their mask."""
    tokens = ids(3, 9)
    tokens[0, 6:], tokens[1, :2] = 0, 0
    return {"input_ids": tokens, "attention_mask": (tokens != 0).long()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_tokens_are_the_peers(generators, version, prompts, way):
    texts = []
    for model, extra in zip(generators[version], ({}, {"disable_compile": True}), strict=True):
        torch.manual_seed(3)
        texts.append(model.generate(**prompts, **WAYS[way], **(extra if "cache_implementation" in WAYS[way] else {})))
    assert torch.equal(*texts)


@pytest.mark.filterwarnings("ignore")
def test_all_that_can_be_asked_for_is_the_peers(generators, version, prompts, assert_equal_to_scale):
    asked = {f"output_{name}": True for name in ("scores", "logits", "attentions", "hidden_states")}
    found, expected = (
        model.generate(**prompts, **asked, return_dict_in_generate=True, max_new_tokens=5) for model in generators[version]
    )
    assert type(found).__name__ == type(expected).__name__
    assert list(found) == list(expected)
    assert torch.equal(found.sequences, expected.sequences)
    compared = 0
    for name in expected:
        for ours, theirs in zip(_flat(found[name]), _flat(expected[name]), strict=True):
            if torch.is_floating_point(theirs):
                assert_equal_to_scale(ours.clamp(min=-1e4), theirs.clamp(min=-1e4))
                compared += 1
    assert compared == 3 + 4 + 5 * (1 + 1 + 2 + 2 + 3), "of the encoder, and at each step scores, logits and the decoder's"


def _flat(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for each in value for tensor in _flat(each)] if isinstance(value, tuple) else []


@pytest.mark.parametrize("given", ["the encoder's output", "embeddings", "a beginning", "a beginning with its start"])
def test_text_from_other_inputs_is_the_peers(generators, version, prompts, given):
    texts = []
    for model in generators[version]:
        mask, inputs = prompts["attention_mask"], dict(prompts)
        if given == "the encoder's output":
            inputs = {"encoder_outputs": model.get_encoder()(**prompts), "attention_mask": mask}
        elif given == "embeddings":
            inputs = {"inputs_embeds": model.get_input_embeddings()(prompts["input_ids"]), "attention_mask": mask}
        else:
            begun = torch.tensor([[0, 4, 5]] * 3)
            inputs["decoder_input_ids"] = begun if given.endswith("start") else begun[:, 1:]
        texts.append(model.generate(**inputs, max_new_tokens=7))
    assert torch.equal(*texts)


def test_padding_of_the_prompt_is_found_without_a_mask(generators, version, prompts):
    ours, _ = generators[version]
    assert torch.equal(ours.generate(prompts["input_ids"], max_new_tokens=7), ours.generate(**prompts, max_new_tokens=7))


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_rows_can_be_repeated_and_change_places_in_the_middle(generators, version, prompts, cache):
    """What a beam search does: from each prompt's rows one is picked, and both caches go along."""
    ours, _ = generators[version]
    seen = {}

    def strategy(session):
        for step in range(4):
            logits = session.forward()[:, -1]
            session.process(logits)
            tokens = logits.topk(2).indices
            session.append(tokens[torch.arange(6), torch.arange(6) % 2])
            if step < 2:
                session.reorder(torch.tensor([1, 1, 2, 3, 5, 4]))
        seen["logits"], seen["ids"] = session.forward()[:, -1], session.input_ids.clone()
        return session.result()

    ours.generate(
        **prompts, max_new_tokens=6, do_sample=True, num_return_sequences=2, decoding=strategy, cache_implementation=cache
    )
    repeated = {name: value.repeat_interleave(2, 0) for name, value in prompts.items()}
    with torch.no_grad():
        expected = ours(**repeated, decoder_input_ids=seen["ids"], use_cache=False).logits[:, -1]
    torch.testing.assert_close(seen["logits"], expected, rtol=1e-4, atol=1e-4)
