"""With a cache or without, in one pass or in steps, padded or not: the same logits."""

import pytest
import torch

from transept.cache import DynamicCache, StaticCache


def steps(model, tokens, sizes, cache, **kwargs):
    """Logits of all positions, fed in pieces of these sizes."""
    logits, start = [], 0
    mask = kwargs.pop("attention_mask", None)
    for size in sizes:
        part = None if mask is None else mask[:, : start + size]
        output = model(tokens[:, start : start + size], attention_mask=part, past_key_values=cache, **kwargs)
        assert output.past_key_values is cache
        logits.append(output.logits)
        start += size
    return torch.cat(logits, dim=1)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[1] * 11, [6, 1, 1, 3], [10, 1]], ids=str)
@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("implementation", ["eager", "sdpa", "auto"])
def test_steps_give_the_logits_of_one_pass(pair, ids, assert_equal_to_scale, sizes, kind, implementation):
    model = pair("LlamaForCausalLM").ours
    model.set_attention(implementation)
    whole = model(ids(), use_cache=False)
    assert whole.past_key_values is None
    cache = DynamicCache(config=model.config) if kind == "dynamic" else StaticCache(config=model.config, max_cache_len=16)
    assert_equal_to_scale(steps(model, ids(), sizes, cache), whole.logits)
    assert cache.get_seq_length() == 11


@torch.no_grad()
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_steps_over_padding(pair, ids, assert_equal_to_scale, kind):
    model = pair("LlamaForCausalLM").ours
    tokens, mask = ids(2, 12), torch.ones(2, 12, dtype=torch.long)
    mask[0, :5] = 0
    cache = DynamicCache(config=model.config) if kind == "dynamic" else StaticCache(config=model.config, max_cache_len=16)
    found = steps(model, tokens, [6, 1, 2, 1, 1, 1], cache, attention_mask=mask)
    assert_equal_to_scale(found[0, 5:], model(tokens[:1, 5:]).logits[0])
    assert_equal_to_scale(found[1], model(tokens[1:]).logits[0])


@torch.no_grad()
@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_steps_across_the_original_length_are_the_peers(pair, ids, assert_equal_to_scale, rope_type):
    parameters = {"rope_type": rope_type, "rope_theta": 10000.0, "factor": 2.0}
    if rope_type == "longrope":
        parameters |= {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "original_max_position_embeddings": 8}
    models = pair("LlamaForCausalLM", max_position_embeddings=8, rope_parameters=parameters)
    tokens, past = ids(length=14), [None, None]
    for start, end in ((0, 6), *((i, i + 1) for i in range(6, 14))):
        found = models.ours(tokens[:, start:end], past_key_values=past[0], use_cache=True)
        expected = models.peer(tokens[:, start:end], past_key_values=past[1], use_cache=True)
        assert_equal_to_scale(found.logits, expected.logits)
        past = [found.past_key_values, expected.past_key_values]


@torch.no_grad()
def test_a_cache_is_made_as_the_configuration_says(pair, ids):
    model = pair("LlamaForCausalLM").ours
    assert model(ids()).past_key_values.get_seq_length() == 11
    model.config.use_cache = False
    assert model(ids()).past_key_values is None
    assert model(ids(), use_cache=True).past_key_values.get_seq_length() == 11


@torch.no_grad()
def test_the_peers_cache_is_served(pair, ids, assert_equal_to_scale):
    import transformers

    model = pair("LlamaForCausalLM").ours
    cache = transformers.DynamicCache()
    assert_equal_to_scale(steps(model, ids(), [7, 1, 3], cache), model(ids()).logits)


def test_a_mask_of_the_new_tokens_alone_is_refused(pair, ids):
    model = pair("LlamaForCausalLM").ours
    cache = model(ids()).past_key_values
    with pytest.raises(ValueError, match=r"`attention_mask` has shape \(2, 1\); this call needs \(2, 12\)"):
        model(ids()[:, :1], attention_mask=torch.ones(2, 1), past_key_values=cache)
