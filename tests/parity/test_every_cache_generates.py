"""`generate` with every cache: the text of a dynamic one, in batches, with beams, with windows, and past the model's context."""

from __future__ import annotations

import warnings

import pytest
import torch
from transept_gemma2 import modeling as gemma2
from transept_gemma2.configuration import Gemma2Config
from transept_gpt2.configuration import GPT2Config
from transept_gpt2.modeling import GPT2LMHeadModel
from transept_llama import modeling as llama
from transept_llama.configuration import LlamaConfig
from transept_mistral import modeling as mistral
from transept_mistral.configuration import MistralConfig
from transept_quantized_cache import QuantizedCache
from transept_sink_cache import SinkCache

from transept.cache import StaticCache
from transept.errors import CacheError, UnknownArgumentError

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
EXACT = {  # settings under which nothing is rounded and nothing is dropped
    "static": {},
    "quantized": {"residual_length": 100},
    "offloaded": {},
    "sink": {"window_length": 100},
}


def make(family, name, config, **settings):
    torch.manual_seed(0)
    return getattr(family, name)(config(**{**SMALL, **settings})).eval()


@pytest.fixture(scope="module")
def models():
    return {
        "llama": make(llama, "LlamaForCausalLM", LlamaConfig),
        "mistral": make(mistral, "MistralForCausalLM", MistralConfig, sliding_window=12),
        "gemma2": make(gemma2, "Gemma2ForCausalLM", Gemma2Config, sliding_window=12, head_dim=8),
    }


def prompts(lengths, seed=0):
    ids = torch.randint(1, 97, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(max(lengths)) >= max(lengths) - torch.tensor(lengths)[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def generate(model, inputs, new=20, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.generate(**inputs, max_new_tokens=new, eos_token_id=None, pad_token_id=0, do_sample=False, **arguments)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
@pytest.mark.parametrize("key", EXACT)
@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"prefill_chunk_size": 7}], ids=["greedy", "beams", "in pieces"])
def test_the_text_is_that_of_a_dynamic_cache(models, family, key, how):
    inputs = prompts([30, 19])
    expected = generate(models[family], inputs, **how)
    found = generate(models[family], inputs, cache_implementation=key, cache_config=EXACT[key], **how)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("family", ["llama", "mistral"])
@pytest.mark.parametrize(("nbits", "tolerance"), [(8, 0.02), (4, 0.6)])
def test_scores_of_quantized_caches_are_near(models, family, nbits, tolerance):
    inputs = prompts([60, 60])
    settings = {"return_dict_in_generate": True, "output_logits": True}
    plain = generate(models[family], inputs, new=6, **settings)
    forced = {**inputs, "input_ids": plain.sequences, "attention_mask": torch.ones_like(plain.sequences)}
    cache = QuantizedCache(models[family].config, nbits=nbits, q_group_size=8, residual_length=8)
    start, worst = 60, 0.0
    with torch.no_grad():
        models[family](forced["input_ids"][:, :start], past_key_values=cache)
        for step in range(1, 6):
            logits = models[family](forced["input_ids"][:, start + step - 1 : start + step], past_key_values=cache).logits[
                :, -1
            ]
            expected = plain.logits[step]
            worst = max(worst, float((logits - expected).abs().max() / expected.abs().max()))
    assert 0 < worst < tolerance


def test_a_row_that_is_padded_beyond_the_window_is_as_alone(models):
    both = prompts([50, 9])
    arguments = {"cache_implementation": "sink", "cache_config": {"window_length": 16, "num_sink_tokens": 3}, "new": 40}
    together = generate(models["llama"], both, **arguments)
    for row, length in enumerate((50, 9)):
        alone = {name: tensor[row : row + 1, 50 - length :] for name, tensor in both.items()}
        assert torch.equal(together[row, 50:], generate(models["llama"], alone, **arguments)[0, length:])


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default", "rope_theta": 1000.0},
        {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0},
        {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16},
    ],
    ids=lambda rope: rope["rope_type"],
)
def test_each_step_past_the_context_is_the_papers(rope):
    """One layer's keys depend on their own tokens alone: so a step is a run over sinks and window, counted from 0."""
    model = make(llama, "LlamaForCausalLM", LlamaConfig, num_hidden_layers=1, max_position_embeddings=64, rope_parameters=rope)
    inputs = prompts([20])
    settings = {"return_dict_in_generate": True, "output_logits": True}
    found = generate(model, inputs, new=100, cache_implementation="sink", cache_config={"window_length": 24}, **settings)
    assert found.sequences.shape[1] == 120
    given = generate(model, inputs, new=100, past_key_values=SinkCache(model.config, window_length=24))
    assert torch.equal(given, found.sequences)
    with torch.no_grad():
        for step in range(1, 100):
            seen = found.sequences[:, : 20 + step]
            if seen.shape[1] > 24:
                seen = torch.cat((seen[:, :4], seen[:, -20:]), 1)
            expected = model(seen, use_cache=False).logits[:, -1]
            torch.testing.assert_close(found.logits[step], expected, rtol=1e-4, atol=1e-4)


def test_other_caches_end_at_the_context(models):
    assert generate(models["llama"], prompts([100]), new=60, cache_implementation="offloaded").shape[1] == 128


@pytest.mark.parametrize(
    ("key", "options", "error", "words"),
    [
        ("quantized", {"nbit": 4}, UnknownArgumentError, "`nbit`, which the quantized cache.*Did you mean `nbits`"),
        ("quantized", {"backend": "quanto"}, UnknownArgumentError, "`backend`.*leave it out"),
        ("quantized", {"nbits": 3}, CacheError, "`nbits` is 3.*4 or 8"),
        ("quantized", {"nbits": True}, CacheError, "`nbits` is True"),
        ("quantized", {"nbits": 4, "q_group_size": 6}, CacheError, "`q_group_size=6` does not divide the 8 channels.*2, 4, 8"),
        ("quantized", {"nbits": 4, "q_group_size": 7}, CacheError, "`q_group_size=7` is odd"),
        ("quantized", {"residual_length": 32}, CacheError, "`residual_length=32` is less than a group of 64"),
        ("quantized", {"residual_length": "long"}, CacheError, "`residual_length` is 'long'"),
        ("offloaded", {"offload_devise": "cpu"}, UnknownArgumentError, "Did you mean `offload_device`"),
        ("offloaded", {"offload_device": "meta"}, CacheError, "holds no data"),
        ("sink", {"window": 9}, UnknownArgumentError, "`window`.*It takes: `window_length`, `num_sink_tokens`"),
        ("sink", {"window_length": 4}, CacheError, "leaves no room beside `num_sink_tokens=4`"),
        ("sink", {"window_length": 0}, CacheError, "`window_length` is 0"),
        ("sink", {"num_sink_tokens": -1}, CacheError, "`num_sink_tokens` is -1"),
        ("sink", {"window_length": 999}, CacheError, "more than the model's context of 128"),
        ("static", {"hole": True}, UnknownArgumentError, "Did you mean `whole`"),
    ],
)
def test_what_a_cache_cannot_be_is_refused(models, key, options, error, words):
    with pytest.raises(error, match=words):
        generate(models["llama"], prompts([5]), cache_implementation=key, cache_config=options)


def test_positions_that_cannot_be_moved_are_refused():
    config = GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    with pytest.raises(CacheError, match="`GPT2Config` has no `rope_parameters`"):
        generate(GPT2LMHeadModel(config), prompts([5]), cache_implementation="sink", cache_config={"window_length": 16})
    stretched = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    with pytest.raises(CacheError, match="`rope_type` is `dynamic`"):
        SinkCache(LlamaConfig(**{**SMALL, "rope_parameters": stretched}), window_length=16)


def test_quantized_and_offloaded_caches_serve_position_tables():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3)
    model = GPT2LMHeadModel(config).eval()
    expected = generate(model, prompts([30, 19]))
    for key in ("quantized", "offloaded"):
        assert torch.equal(generate(model, prompts([30, 19]), cache_implementation=key), expected)


def test_a_static_cache_that_is_too_small_is_left_as_it_was(models):
    model = models["gemma2"]  # its first layer slides and would take any number of tokens
    cache = StaticCache(model.config, 16)
    ids = prompts([20])["input_ids"]
    with torch.no_grad():
        model(ids[:, :14], past_key_values=cache)
        with pytest.raises(CacheError, match="room for 16 tokens and 17 are needed"):
            model(ids[:, 14:17], past_key_values=cache)
        assert [layer.get_seq_length() for layer in cache.layers] == [14, 14]
        found = model(ids[:, 14:16], past_key_values=cache).logits
        torch.testing.assert_close(found, model(ids[:, :16]).logits[:, 14:], rtol=1e-4, atol=1e-4)
