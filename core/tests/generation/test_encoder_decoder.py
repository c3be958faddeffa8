"""Generation with an encoder: it runs once, and the decoder starts where it should."""

from __future__ import annotations

import pytest
import torch

from transept.errors import GenerationError
from transept.generation import GenerationConfig

SOURCE = torch.tensor([[3, 17, 8, 25], [39, 39, 4, 5]])
MASK = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])


@pytest.fixture
def seq2seq(make_model):
    model = make_model(is_encoder_decoder=True)
    model.generation_config = GenerationConfig(decoder_start_token_id=1)
    return model


def by_hand(model, source, start, steps, mask=None):
    ids = start
    for _ in range(steps):
        logits = model(input_ids=source, attention_mask=mask, decoder_input_ids=ids).logits[:, -1]
        ids = torch.cat((ids, logits.argmax(-1, keepdim=True)), 1)
    return ids


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy(seq2seq, use_cache):
    expected = by_hand(seq2seq, SOURCE, torch.ones(2, 1, dtype=torch.long), 6, MASK)
    seq2seq.encoder.runs = 0
    out = seq2seq.generate(SOURCE, attention_mask=MASK, max_new_tokens=6, use_cache=use_cache)
    assert torch.equal(out, expected)
    assert seq2seq.encoder.runs == 1


def test_a_padded_source_equals_the_source_alone(seq2seq):
    out = seq2seq.generate(SOURCE, attention_mask=MASK, max_new_tokens=6)
    assert torch.equal(out[1:], seq2seq.generate(torch.tensor([[4, 5]]), max_new_tokens=6))


def test_the_decoders_start(seq2seq):
    plain = seq2seq.generate(SOURCE, max_new_tokens=3)
    begun = seq2seq.generate(SOURCE, decoder_input_ids=torch.tensor([[7], [7]]), max_new_tokens=3)
    assert begun[:, :2].tolist() == [[1, 7], [1, 7]]
    assert torch.equal(begun, by_hand(seq2seq, SOURCE, torch.tensor([[1, 7], [1, 7]]), 3))
    assert torch.equal(seq2seq.generate(SOURCE, decoder_input_ids=torch.tensor([[1], [1]]), max_new_tokens=3), plain)
    assert seq2seq.generate(SOURCE, decoder_start_token_id=[4, 5], max_new_tokens=1)[:, 0].tolist() == [4, 5]
    with pytest.raises(GenerationError, match="3 ids for a batch of 2"):
        seq2seq.generate(SOURCE, decoder_start_token_id=[4, 5, 6], max_new_tokens=1)
    seq2seq.generation_config = GenerationConfig()
    with pytest.raises(GenerationError, match="decoder_start_token_id"):
        seq2seq.generate(SOURCE, max_new_tokens=1)


def test_encoder_outputs_are_taken_as_they_are(seq2seq):
    expected = seq2seq.generate(SOURCE, max_new_tokens=4)
    outputs = seq2seq.encoder(SOURCE)
    seq2seq.encoder.runs = 0
    assert torch.equal(seq2seq.generate(encoder_outputs=outputs, max_new_tokens=4), expected)
    assert torch.equal(seq2seq.generate(encoder_outputs=(outputs[0],), max_new_tokens=4), expected)
    assert seq2seq.encoder.runs == 0
    with pytest.raises(GenerationError, match="encoder needs an input"):
        seq2seq.generate(max_new_tokens=4)


def test_samples_of_one_source(seq2seq):
    out = seq2seq.generate(SOURCE, attention_mask=MASK, do_sample=True, num_return_sequences=3, max_new_tokens=4)
    assert out.shape == (6, 5)


def test_the_encoders_tokens_steer_the_decoder(seq2seq):
    free = seq2seq.generate(SOURCE[:1], max_new_tokens=5)[0, 1:].tolist()
    source = torch.tensor([free])
    options = {"encoder_no_repeat_ngram_size": 1, "max_new_tokens": 5}
    assert not set(seq2seq.generate(source, **options)[0, 1:].tolist()) & set(free)


def test_what_is_recorded(seq2seq):
    out = seq2seq.generate(
        SOURCE, max_new_tokens=3, return_dict_in_generate=True, output_hidden_states=True, output_scores=True
    )
    assert len(out.decoder_hidden_states) == len(out.scores) == 3
    assert out.encoder_hidden_states[0].shape == (2, 4, 16)


def test_padding_of_the_source_is_inferred_from_the_pad_token(seq2seq):
    expected = seq2seq.generate(SOURCE, attention_mask=MASK, max_new_tokens=6)
    assert not torch.equal(seq2seq.generate(SOURCE, max_new_tokens=6), expected)
    assert torch.equal(seq2seq.generate(SOURCE, pad_token_id=39, max_new_tokens=6), expected)
