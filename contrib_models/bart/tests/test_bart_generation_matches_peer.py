"""Text: token for token the peer's, however it is decoded."""

import json

import pytest
import torch
import transformers

import transept
from transept.discovery import registry

WAYS = {
    "greedy": {"max_new_tokens": 12},
    "without a cache": {"max_new_tokens": 12, "use_cache": False},
    "static cache": {"max_new_tokens": 12, "cache_implementation": "static"},
    "forced ends": {"max_new_tokens": 8, "forced_bos_token_id": 0, "forced_eos_token_id": 2},
    "several ends": {"max_new_tokens": 12, "eos_token_id": [2, *range(72, 97)], "forced_eos_token_id": 2},
    "sampled": {"max_new_tokens": 8, "do_sample": True, "top_k": 20, "temperature": 1.3},
    "several samples": {"max_new_tokens": 5, "do_sample": True, "num_return_sequences": 3},
    "penalties": {"max_length": 12, "min_length": 8, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
}
SUMMARY = {
    "num_beams": 4,
    "length_penalty": 2.0,
    "min_length": 6,
    "max_length": 14,
    "no_repeat_ngram_size": 3,
    "early_stopping": True,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": 2,
}


@pytest.fixture
def prompts(ids):
    """Two prompts, one padded, each framed as the tokenizer does it; and their mask."""
    tokens = ids(2, 9)
    tokens[:, 0], tokens[:, -1] = 0, 2
    tokens[0, 5], tokens[0, 6:] = 2, 1
    return {"input_ids": tokens, "attention_mask": (tokens != 1).long()}


@pytest.fixture
def with_beams():
    if registry.find("decoding", "beam_search") is None:
        pytest.skip("transept-beam is not installed")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_tokens_are_the_peers(generators, prompts, way):
    texts = []
    for model, extra in zip(generators, ({}, {"disable_compile": True}), strict=True):
        torch.manual_seed(3)
        texts.append(model.generate(**prompts, **WAYS[way], **(extra if "cache_implementation" in WAYS[way] else {})))
    assert torch.equal(*texts)
    assert texts[0].unique().numel() > 5, "a text of a few words shows nothing"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_summaries_by_beams_are_the_peers(generators, prompts, with_beams, cache):
    ours, peer = generators
    found = ours.generate(**prompts, **SUMMARY, num_return_sequences=2, cache_implementation=cache)
    expected = peer.generate(**prompts, **SUMMARY, num_return_sequences=2)
    assert torch.equal(found, expected)
    assert set(found[:, 1].tolist()) == {0}


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_summarises_says_how(generators, prompts, tmp_path, with_beams):
    """As the hub's older files do: in `config.json`, or in `generation_config.json`."""
    ours, peer = generators
    expected = peer.generate(**prompts, **SUMMARY)
    ours.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({**SUMMARY, "eos_token_id": 2, "decoder_start_token_id": 2}))
    for kind in (transept.BartForConditionalGeneration, transformers.BartForConditionalGeneration):
        assert torch.equal(kind.from_pretrained(tmp_path).generate(**prompts), expected)
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **SUMMARY}))
    assert torch.equal(transept.BartForConditionalGeneration.from_pretrained(tmp_path).generate(**prompts), expected)


@pytest.mark.parametrize("given", ["the encoder's output", "a beginning"])
def test_text_from_other_inputs_is_the_peers(generators, prompts, given):
    texts = []
    for model in generators:
        inputs = dict(prompts)
        if given == "the encoder's output":
            inputs = {"encoder_outputs": model.get_encoder()(**prompts), "attention_mask": prompts["attention_mask"]}
        else:
            inputs["decoder_input_ids"] = torch.tensor([[2, 0, 5]] * 2)
        texts.append(model.generate(**inputs, max_new_tokens=7))
    assert torch.equal(*texts)


def test_the_decoder_alone_writes_as_the_peers(bart_pair, ids):
    ours, peer = bart_pair("BartForCausalLM", decoder_layers=3)
    assert torch.equal(ours.generate(ids(), max_new_tokens=8), peer.generate(ids(), max_new_tokens=8))


def test_the_decoder_alone_looks_at_states_that_are_given(bart_pair, ids):
    ours, peer = bart_pair("BartForCausalLM")
    states = torch.randn(2, 5, 32)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1] * 5])
    asked = {"encoder_hidden_states": states, "encoder_attention_mask": mask, "max_new_tokens": 8}
    found = ours.generate(ids(), **asked)
    assert torch.equal(found, peer.generate(ids(), **asked, use_cache=False))
    assert not torch.equal(found, ours.generate(ids(), max_new_tokens=8))


def test_a_left_padded_batch_writes_what_each_row_does(bart_pair, ids):
    """The peer's counts padding among the positions, so that its rows differ."""
    ours, _ = bart_pair("BartForCausalLM")
    rows = ids()
    rows[0, :4] = 1
    together = ours.generate(rows, attention_mask=(rows != 1).long(), max_new_tokens=6)
    assert torch.equal(together[0, 4:], ours.generate(rows[:1, 4:], max_new_tokens=6)[0])
