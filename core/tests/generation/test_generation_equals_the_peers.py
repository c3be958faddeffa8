"""Our loop over the peer's model gives the peer's tokens and scores, for greedy decoding and for sampling with one seed."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from transept.generation import GenerationConfig, GenerationMixin

transformers = pytest.importorskip("transformers")

PAD = 0
ROWS = torch.tensor([[PAD, PAD, 5, 9, 33, 2], [7, 8, 7, 8, 7, 8], [PAD, 60, 61, 4, 4, 4]])
MASK = (ROWS != PAD).long()

RECIPES = [
    {},
    {"repetition_penalty": 1.4},
    {"no_repeat_ngram_size": 2},
    {"bad_words_ids": [[8], [33, 2]], "sequence_bias": [[[7], 3.0], [[4, 5], -4.0]]},
    {"min_new_tokens": 6, "eos_token_id": [3, 9, 60]},
    {"min_length": 10, "eos_token_id": list(range(40, 60))},
    {"eos_token_id": list(range(10, 40)), "pad_token_id": 1},
    {"eos_token_id": list(range(10, 40)), "forced_eos_token_id": 12, "begin_suppress_tokens": [7, 20]},
    {"exponential_decay_length_penalty": (2, 1.6), "eos_token_id": 11, "suppress_tokens": [1, 2, 3]},
    {"encoder_repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 2, "remove_invalid_values": True},
    {"guidance_scale": 1.7, "renormalize_logits": True},
    {"max_length": 9},
    {"use_cache": False},
    {"prefill_chunk_size": 4},
    {"num_return_sequences": 2, "do_sample": True},
    {"do_sample": True},
    {"do_sample": True, "temperature": 0.6, "top_k": 12, "top_p": 0.8},
    {"do_sample": True, "top_k": 0, "min_p": 0.05, "typical_p": 0.9, "repetition_penalty": 1.2},
    {"do_sample": True, "top_k": 0, "epsilon_cutoff": 0.01, "eta_cutoff": 0.02, "renormalize_logits": True},
    {"do_sample": True, "top_h": 0.6, "eos_token_id": list(range(10, 40))},
]


class Borrowed(nn.Module, GenerationMixin):
    """The peer's model under our `generate`."""

    main_input_name = "input_ids"

    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.generation_config = model, model.config, GenerationConfig()

    @property
    def device(self):
        return self.model.device

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        use_cache=None,
        logits_to_keep=0,
        output_hidden_states=None,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        return self.model(**arguments, return_dict=True)


@pytest.fixture(scope="module")
def peer():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.4,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    model.generation_config = transformers.GenerationConfig()
    return model


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: ",".join(recipe) or "greedy")
def test_tokens_and_scores_are_the_peers(peer, recipe, padded):
    rows = {"input_ids": ROWS, "attention_mask": MASK} if padded else {"input_ids": ROWS[1:2]}
    flags = {"max_new_tokens": 12, "pad_token_id": PAD, **recipe}
    if "max_length" in flags:
        del flags["max_new_tokens"]
    outputs = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(5)
        expected = peer.generate(**rows, **flags, **outputs)
    cache = {} if flags.get("use_cache") is False else {"past_key_values": transformers.DynamicCache()}
    torch.manual_seed(5)
    got = Borrowed(peer).generate(**rows, **cache, **flags, **outputs)
    assert got.sequences.tolist() == expected.sequences.tolist()
    for ours, theirs in zip(got.logits, expected.logits, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(got.scores, expected.scores, strict=True):
        assert torch.equal(ours.isfinite(), theirs.isfinite())
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_generation_config_of_the_checkpoint_is_followed_as_by_the_peer(peer):
    flags = {"do_sample": True, "temperature": 0.5, "top_k": 9, "eos_token_id": [5, 6], "pad_token_id": 0, "max_new_tokens": 15}
    borrowed = Borrowed(peer)
    borrowed.generation_config = GenerationConfig(**flags)
    torch.manual_seed(1)
    expected = peer.generate(ROWS[1:2], generation_config=transformers.GenerationConfig(**flags))
    torch.manual_seed(1)
    assert torch.equal(borrowed.generate(ROWS[1:2], past_key_values=transformers.DynamicCache()), expected)


def test_transition_scores_are_the_peers(peer):
    options = {"max_new_tokens": 6, "return_dict_in_generate": True, "output_scores": True}
    out = peer.generate(ROWS, attention_mask=MASK, pad_token_id=0, **options)
    beams = torch.tensor([[0, 0, 1, 1, 0, -1], [1, 1, 1, -1, -1, -1], [2, 2, 2, 2, 2, -1]])
    for indices in (None, beams):
        for normalize in (True, False):
            expected = peer.compute_transition_scores(out.sequences, out.scores, indices, normalize)
            got = Borrowed(peer).compute_transition_scores(out.sequences, out.scores, indices, normalize)
            torch.testing.assert_close(got, expected)
