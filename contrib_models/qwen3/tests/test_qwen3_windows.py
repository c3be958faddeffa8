"""Windows around the length of the input, and text that grows beyond them: the peer's logits and words."""

import copy

import pytest
import torch
import transformers
from transept_qwen3 import configuration, modeling

from transept import DynamicCache, StaticCache

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "eos_token_id": None,
}
LENGTH = 11


@pytest.fixture
def pair():
    def make(window, **changes):
        settings = {**SMALL, "use_sliding_window": True, "max_window_layers": 1, "sliding_window": window, **changes}
        torch.manual_seed(0)
        peer_config = transformers.Qwen3Config(**copy.deepcopy(settings))
        peer = transformers.Qwen3ForCausalLM._from_config(peer_config, attn_implementation="eager").eval()
        ours = modeling.Qwen3ForCausalLM(configuration.Qwen3Config(**copy.deepcopy(settings))).eval()
        ours.load_state_dict(peer.state_dict(), strict=True)
        return ours, peer

    return make


@pytest.fixture
def ids():
    return torch.randint(1, 97, (2, LENGTH), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("window", [1, 2, LENGTH - 1, LENGTH, LENGTH + 1, 64])
def test_logits_with_windows_around_the_length(pair, ids, window):
    ours, peer = pair(window)
    expected = peer(ids, use_cache=False).logits
    torch.testing.assert_close(ours(ids, use_cache=False).logits, expected, rtol=1e-4, atol=1e-5)
    whole = pair(64)[0]
    whole.load_state_dict(peer.state_dict())
    assert torch.allclose(whole(ids).logits, expected, atol=1e-4) == (window >= LENGTH), "the window shows where it should not"


@torch.no_grad()
@pytest.mark.parametrize("window", [2, 5, LENGTH - 1, LENGTH, LENGTH + 1])
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_greedy_text_beyond_the_window_is_the_peers(pair, ids, window, cache):
    ours, peer = pair(window)
    expected = peer.generate(ids, max_new_tokens=14, do_sample=False, pad_token_id=0)
    found = ours.generate(ids, max_new_tokens=14, do_sample=False, pad_token_id=0, cache_implementation=cache)
    assert torch.equal(found, expected)


@torch.no_grad()
@pytest.mark.parametrize("cache", ["every token", "static and whole", "of the windows"])
@pytest.mark.parametrize("sizes", [[1] * LENGTH, [7, 1, 3], [4, 7]], ids=str)
def test_steps_with_any_cache_give_the_logits_of_one_pass(pair, ids, cache, sizes):
    ours, _ = pair(4)
    made = {
        "every token": lambda: DynamicCache(),
        "static and whole": lambda: StaticCache(ours.config, 16, whole=True),
        "of the windows": lambda: DynamicCache(ours.config),
    }[cache]()
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    whole = ours(ids, attention_mask=mask, use_cache=False).logits
    found, start = [], 0
    for size in sizes:
        stop = start + size
        found.append(ours(ids[:, start:stop], attention_mask=mask[:, :stop], past_key_values=made).logits)
        start = stop
    found = torch.cat(found, 1)
    torch.testing.assert_close(found[mask.bool()], whole[mask.bool()], rtol=1e-4, atol=1e-5)
