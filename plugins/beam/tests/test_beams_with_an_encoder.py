"""Beams of an encoder-decoder: the encoder runs once a prompt, and texts and records are the peer's."""

import pytest
import torch

SOURCE = torch.tensor([[5, 9, 33, 2, 1, 0], [7, 8, 50, 51, 20, 1], [60, 61, 1, 0, 0, 0]])
MASK = (SOURCE != 0).long()
PROMPT = {"input_ids": SOURCE, "attention_mask": MASK}
ENDS = list(range(1, 20))

SETTINGS = [
    {},
    {"eos_token_id": ENDS, "num_return_sequences": 3},
    {"eos_token_id": ENDS, "early_stopping": True, "length_penalty": 0.4},
    {"eos_token_id": 1, "min_length": 5, "no_repeat_ngram_size": 2, "forced_eos_token_id": 1},
    {"decoder_input_ids": torch.tensor([[0, 4], [0, 5], [0, 6]]), "eos_token_id": ENDS},
    {"use_cache": False, "eos_token_id": ENDS},
    {"cache_implementation": "static", "eos_token_id": ENDS},
    {"do_sample": True, "top_k": 20, "eos_token_id": ENDS},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ",".join(settings) or "plain")
def test_texts_and_scores_are_the_peers(t5, settings):
    kept = {"return_dict_in_generate": True, "output_scores": True}
    expected, got = t5.generate(**PROMPT, num_beams=4, **kept, **settings)
    assert list(got.keys()) == list(expected.keys())
    assert torch.equal(got.sequences, expected.sequences)
    assert torch.equal(got.beam_indices, expected.beam_indices)
    torch.testing.assert_close(got.sequences_scores, expected.sequences_scores, rtol=1e-4, atol=1e-4)


def test_states_and_attentions_are_the_peers(t5):
    kept = {"output_attentions": True, "output_hidden_states": True, "return_dict_in_generate": True}
    source = SOURCE[1:2]
    expected, got = t5.generate(input_ids=source, attention_mask=None, num_beams=3, max_new_tokens=4, **kept)
    assert list(got.keys()) == list(expected.keys())
    for name in ("decoder_attentions", "cross_attentions", "decoder_hidden_states"):
        for ours, theirs in zip(got[name], expected[name], strict=True):
            for layer, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(layer, other, rtol=1e-4, atol=1e-4)
    for name in ("encoder_attentions", "encoder_hidden_states"):
        for layer, other in zip(got[name], expected[name], strict=True):
            torch.testing.assert_close(layer, other, rtol=1e-4, atol=1e-4)


def test_the_encoder_runs_once_a_prompt(t5):
    rows = []
    hook = t5.ours.get_encoder().register_forward_hook(lambda module, inputs, output: rows.append(output[0].shape[0]))
    first = []
    head = t5.ours.lm_head.register_forward_hook(lambda module, inputs, output: first.append(output.shape[0]))
    try:
        t5.ours.generate(SOURCE, attention_mask=MASK, num_beams=4, max_new_tokens=3)
    finally:
        hook.remove()
        head.remove()
    assert rows == [3]
    assert first == [3, 12, 12], "beams that are still the same are run once"


def test_encoder_outputs_may_be_given(t5):
    outputs = t5.ours.get_encoder()(input_ids=SOURCE, attention_mask=MASK, return_dict=True)
    settings = {"num_beams": 3, "max_new_tokens": 6, "eos_token_id": ENDS}
    expected = t5.ours.generate(SOURCE, attention_mask=MASK, **settings)
    assert torch.equal(t5.ours.generate(encoder_outputs=outputs, attention_mask=MASK, **settings), expected)
