"""What is Gemma 2's own: caps, an encoder's windows, the scale of embeddings, gains that are stored less one."""

import copy

import pytest
import torch
import transformers
from transept_gemma2 import configuration, modeling

from transept.errors import AttentionError

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
        settings = {**SMALL, "sliding_window": window, **changes}
        torch.manual_seed(0)
        peer_config = transformers.Gemma2Config(**copy.deepcopy(settings))
        peer = transformers.Gemma2ForCausalLM._from_config(peer_config, attn_implementation="eager").eval()
        ours = modeling.Gemma2ForCausalLM(configuration.Gemma2Config(**copy.deepcopy(settings))).eval()
        ours.load_state_dict(peer.state_dict(), strict=True)
        return ours, peer

    return make


@pytest.fixture
def ids():
    return torch.randint(1, 97, (2, LENGTH), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_kernel_without_a_softcap_is_passed_over_and_refused_by_name(pair, ids):
    ours, _ = pair(4)
    ours(ids)
    assert {layer.explain().kernel for _, layer in ours.attention_layers()} == {"eager"}
    with pytest.raises(AttentionError, match="lacks a `softcap`"):
        ours.set_attention("sdpa")
    plain, _ = pair(4, attn_logit_softcapping=None)
    plain(ids)
    assert {layer.explain().kernel for _, layer in plain.attention_layers()} == {"sdpa"}


@torch.no_grad()
def test_queries_of_an_encoder_see_both_sides_of_the_window(pair, ids):
    ours, _ = pair(3, use_bidirectional_attention=True, layer_types=["sliding_attention"], num_hidden_layers=1)
    weights = ours(ids, output_attentions=True).attentions[0]
    place = torch.arange(LENGTH)
    assert torch.equal(weights[0, 0] > 0, (place[:, None] - place).abs() < 3)
    causal, _ = pair(3, layer_types=["sliding_attention"], num_hidden_layers=1)
    assert not torch.allclose(causal(ids).logits, ours(ids).logits)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_scale_of_embeddings_is_rounded_as_the_peer_rounds_it(pair, ids, dtype):
    ours, peer = pair(4, hidden_size=48)
    found, expected = ours.to(dtype).model.embed_tokens(ids), peer.to(dtype).model.embed_tokens(ids)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


@torch.no_grad()
def test_norms_round_once(pair):
    ours, peer = pair(4)
    states = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(2)).bfloat16() * 9
    gain = torch.randn(32, generator=torch.Generator().manual_seed(3))
    for model in (ours, peer):
        model.model.norm.weight.copy_(gain)
        model.bfloat16()
    assert torch.equal(ours.model.norm(states), peer.model.norm(states))


def test_gains_start_at_one_and_scores_keep_to_their_caps(pair, ids):
    ours, _ = pair(4, final_logit_softcapping=0.5)
    assert not ours.model.norm.weight.any()
    assert 0.4 < ours(ids).logits.abs().max() <= 0.5
    assert pair(4, final_logit_softcapping=None)[0](ids).logits.abs().max() > 0.5
