"""What is GPT-2's own: scales of the scores, cross-attention, two heads, the starting weights, the end of the position table."""

import math

import pytest
import torch
import transept_gpt2.double_heads as double_heads
import transept_gpt2.modeling as modeling
import transformers
from transept_gpt2.configuration import GPT2Config

from transept.cache import DynamicCache, EncoderDecoderCache
from transept.errors import ConfigError, InputError

TINY = {
    "vocab_size": 61,
    "n_positions": 16,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "bos_token_id": 1,
    "eos_token_id": None,
    "initializer_range": 0.3,
}
IDS = torch.arange(3, 21).reshape(2, 9)
STATES = torch.sin(torch.arange(2 * 5 * 16.0)).reshape(2, 5, 16)
ENCODER_MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


@pytest.fixture
def pair(tmp_path):
    """The peer's model and ours, with the same weights."""

    def make(name, **changes):
        torch.manual_seed(0)
        config = transformers.GPT2Config(**TINY, **changes)
        peer = getattr(transformers, name)._from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            for parameter in peer.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        peer.save_pretrained(tmp_path)
        kind = getattr(modeling, name, None) or getattr(double_heads, name)
        return kind.from_pretrained(tmp_path), peer

    return make


def assert_close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    scale = expected.detach().abs().max().clamp(min=1e-2)
    assert float((found - expected).detach().abs().max() / scale) <= tolerance


@torch.no_grad()
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("scaled", [True, False], ids=["by head", "not by head"])
@pytest.mark.parametrize("by_layer", [True, False], ids=["by layer", "not by layer"])
@pytest.mark.parametrize("upcast", [True, False], ids=["upcast", "as it is"])
def test_scores_are_scaled_as_the_configuration_says(pair, kernel, scaled, by_layer, upcast):
    ours, peer = pair(
        "GPT2LMHeadModel",
        scale_attn_weights=scaled,
        scale_attn_by_inverse_layer_idx=by_layer,
        reorder_and_upcast_attn=upcast,
    )
    ours.set_attention(kernel)
    assert_close(ours(IDS).logits, peer(IDS).logits)


@pytest.mark.parametrize("autocast", [False, True], ids=["half weights", "autocast"])
@pytest.mark.parametrize("upcast", [True, False])
def test_attention_is_computed_in_float32_where_asked(pair, upcast, autocast, monkeypatch):
    ours, _ = pair("GPT2LMHeadModel", reorder_and_upcast_attn=upcast)
    ours = ours if autocast else ours.to(torch.bfloat16)
    seen = set()
    block = ours.transformer.h[0].attn
    attend = block.attend

    def spy(query, key, value, **kwargs):
        product = query @ key.transpose(-1, -2)
        seen.update((query.dtype, key.dtype, value.dtype, product.dtype))
        return attend(query, key, value, **kwargs)

    monkeypatch.setattr(block, "attend", spy)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = ours(IDS, output_attentions=True)
    assert seen == {torch.float32 if upcast else torch.bfloat16}
    assert output.logits.dtype == output.attentions[0].dtype == torch.bfloat16


def test_residual_projections_start_smaller():
    torch.manual_seed(0)
    model = modeling.GPT2LMHeadModel(GPT2Config(n_embd=128, n_layer=8, n_head=2, vocab_size=500, n_positions=64))
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            expected = 0.02 / math.sqrt(2 * 8) if name.endswith("c_proj") else 0.02
            assert abs(float(module.weight.std()) / expected - 1) < 0.05, name
            assert getattr(module, "bias", None) is None or not module.bias.any()
        elif isinstance(module, torch.nn.LayerNorm):
            assert module.weight.eq(1).all()
            assert not module.bias.any()


# -- cross-attention -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_layer", [True, False], ids=["by layer", "not by layer"])
def test_an_encoder_is_looked_at_as_the_peer_does(pair, by_layer):
    ours, peer = pair("GPT2LMHeadModel", add_cross_attention=True, scale_attn_by_inverse_layer_idx=by_layer)
    found, gradients = [], []
    for model in (ours, peer):
        states = STATES.clone().requires_grad_()
        arguments = {"encoder_hidden_states": states, "encoder_attention_mask": ENCODER_MASK, "labels": IDS}
        output = model(IDS, **arguments, output_attentions=True, output_hidden_states=True, use_cache=False)
        output.loss.backward()
        found.append(output)
        gradients.append(states.grad)
    assert list(found[0]) == list(found[1])
    assert_close(found[0].loss, found[1].loss)
    assert_close(*gradients, 1e-4)
    for name in ("hidden_states", "attentions", "cross_attentions"):
        for one, other in zip(found[0][name], found[1][name], strict=True):
            assert_close(one, other)


def test_an_encoder_gets_the_same_gradients_when_layers_are_recomputed(pair):
    ours, _ = pair("GPT2LMHeadModel", add_cross_attention=True, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    ours.train()
    found = []
    for arguments in (None, {}, {"use_reentrant": True}):
        ours.gradient_checkpointing_disable() if arguments is None else ours.gradient_checkpointing_enable(arguments)
        states = STATES.clone().requires_grad_()
        ours(IDS, encoder_hidden_states=states, labels=IDS, use_cache=False).loss.backward()
        found.append(states.grad)
    assert_close(found[1], found[0])
    assert_close(found[2], found[0])


@pytest.mark.parametrize("cache", ["dynamic", "static", None])
def test_text_about_an_encoders_states_is_the_peers(pair, cache):
    ours, peer = pair("GPT2LMHeadModel", add_cross_attention=True)
    arguments = {"encoder_hidden_states": STATES, "encoder_attention_mask": ENCODER_MASK}
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(IDS)}
    expected = peer.generate(IDS, **arguments, **options)
    chosen = {"use_cache": False} if cache is None else {"cache_implementation": cache}
    assert torch.equal(ours.generate(IDS, **arguments, **options, **chosen), expected)


@torch.no_grad()
def test_an_encoders_keys_are_projected_once(pair, monkeypatch):
    ours, _ = pair("GPT2LMHeadModel", add_cross_attention=True)
    whole = ours(IDS, encoder_hidden_states=STATES, use_cache=False).logits
    first = ours(IDS[:, :5], encoder_hidden_states=STATES)
    assert isinstance(first.past_key_values, EncoderDecoderCache)

    def refuse(*_):
        raise AssertionError("projected again")

    for block in ours.transformer.h:
        monkeypatch.setattr(block.crossattention.c_attn, "forward", refuse)
    rest = ours(IDS[:, 5:], encoder_hidden_states=STATES, past_key_values=first.past_key_values)
    assert_close(torch.cat((first.logits, rest.logits), 1), whole)


@torch.no_grad()
def test_a_cache_that_is_given_is_extended(pair):
    ours, _ = pair("GPT2LMHeadModel", add_cross_attention=True)
    cache = DynamicCache()
    output = ours(IDS, encoder_hidden_states=STATES, past_key_values=cache)
    assert output.past_key_values.self_attention_cache is cache
    assert cache.get_seq_length() == 9
    plain = ours(IDS)
    assert plain.cross_attentions is None
    assert not hasattr(plain.past_key_values, "cross_attention_cache")


def test_what_cross_attention_needs_is_said(pair):
    ours, _ = pair("GPT2LMHeadModel")
    with pytest.raises(InputError, match="add_cross_attention=True"):
        ours(IDS, encoder_hidden_states=STATES)
    with pytest.raises(InputError, match="without `encoder_hidden_states`"):
        ours(IDS, encoder_attention_mask=ENCODER_MASK)


def test_a_decoder_with_new_cross_attention_starts_from_one_without(pair, tmp_path):
    pair("GPT2LMHeadModel")
    with pytest.warns(UserWarning, match="crossattention"):
        model, info = modeling.GPT2LMHeadModel.from_pretrained(tmp_path, add_cross_attention=True, output_loading_info=True)
    assert len(info["missing_keys"]) == 2 * 8
    assert all("cross" in name for name in info["missing_keys"])
    assert torch.isfinite(model(IDS, encoder_hidden_states=STATES).logits).all()


# -- two heads -------------------------------------------------------------------------------------------------------------


CHOICES = torch.arange(3, 39).reshape(2, 3, 6)


@pytest.mark.parametrize("places", [None, torch.tensor([[1, 5, 3], [0, 2, 4]])], ids=["the last", "places"])
def test_choices_are_scored_as_the_peer_does(pair, places):
    ours, peer = pair("GPT2DoubleHeadsModel", summary_activation="tanh")
    arguments = {"labels": CHOICES, "mc_labels": torch.tensor([2, 0]), "mc_token_ids": places, "use_cache": False}
    found, expected = ours(CHOICES, **arguments), peer(CHOICES, **arguments)
    assert list(found) == list(expected)
    for name in expected:
        assert_close(found[name], expected[name])
    for output in (found, expected):
        (output.loss + output.mc_loss).backward()
    theirs = dict(peer.named_parameters())
    for name, gradient in ours.key_map.reversed().convert({n: p.grad for n, p in ours.named_parameters()}).items():
        assert_close(gradient, theirs[name].grad, 1e-4)


@torch.no_grad()
@pytest.mark.parametrize("summary", ["cls_index", "last", "first", "mean"])
@pytest.mark.parametrize("projected", [True, False])
def test_a_sequence_is_summed_up_as_the_configuration_says(pair, summary, projected):
    # of choices, the peer's "last", "first" and "mean" take those of the choices and not of their tokens: it is asked for rows
    ours, peer = pair("GPT2DoubleHeadsModel", summary_type=summary, summary_use_proj=projected)
    rows, expected = CHOICES.flatten(0, 1), peer(CHOICES.flatten(0, 1)).mc_logits
    assert_close(ours(rows).mc_logits, expected)
    assert_close(ours(CHOICES).mc_logits, expected.unflatten(0, (2, 3)))


def test_the_second_head_has_one_label_whatever_the_configuration_says():
    config = GPT2Config(**TINY, num_labels=5)
    model = double_heads.GPT2DoubleHeadsModel(config)
    assert model.multiple_choice_head.summary.out_features == 1
    assert config.num_labels == 5


def test_two_heads_generate_as_the_peers_do(pair):
    ours, peer = pair("GPT2DoubleHeadsModel")
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(IDS)}
    assert torch.equal(ours.generate(IDS, **options), peer.generate(IDS, **options))


def test_embeddings_of_choices(pair):
    ours, _ = pair("GPT2DoubleHeadsModel")
    found = ours(inputs_embeds=ours.get_input_embeddings()(CHOICES))
    assert_close(found.logits, ours(CHOICES).logits)
    assert_close(found.mc_logits, ours(CHOICES).mc_logits)


@pytest.mark.parametrize(
    ("changes", "places", "words"),
    [
        ({}, [[0, 6]], "`mc_token_ids` go from 0 to 6, in 6 tokens"),
        ({}, [[-1, 0]], "`mc_token_ids` go from -1 to 0"),
        ({}, [0, 1], r"`mc_token_ids` has shape \(2,\): one for each sequence is \(1, 2\)"),
        ({"summary_type": "mean"}, [[0, 1]], "`summary_type` is `mean`"),
    ],
)
def test_places_that_cannot_be_scored(changes, places, words):
    model = double_heads.GPT2DoubleHeadsModel(GPT2Config(**TINY, **changes))
    with pytest.raises(InputError, match=words):
        model(torch.arange(12).reshape(1, 2, 6), mc_token_ids=torch.tensor(places))


def test_a_summary_that_there_is_not():
    with pytest.raises(ConfigError, match="cls_index, last, first, mean"):
        double_heads.GPT2DoubleHeadsModel(GPT2Config(**TINY, summary_type="attn"))


# -- positions -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_position_table_ends(pair):
    ours, _ = pair("GPT2LMHeadModel")
    full = torch.arange(16)[None]
    cache = ours(full).past_key_values
    with pytest.raises(InputError, match="17 tokens, and the position table ends at 16"):
        ours(full[:, :1], past_key_values=cache)
    with pytest.raises(InputError, match="`position_ids` has ids from 16 to 16, and the table of `n_positions` is 0 to 15"):
        ours(full[:, :1], position_ids=torch.tensor([[16]]))
    with pytest.raises(InputError, match="`token_type_ids` has ids from 61 to 61, and the vocabulary is 0 to 60"):
        ours(full[:, :1], token_type_ids=torch.tensor([[61]]))


@torch.no_grad()
def test_padding_takes_no_room_in_the_position_table(pair):
    ours, _ = pair("GPT2LMHeadModel")
    tokens = torch.arange(16)[None]
    padded = torch.cat((torch.zeros(1, 4, dtype=torch.long), tokens), 1)
    mask = torch.tensor([[0] * 4 + [1] * 16])
    assert_close(ours(padded, attention_mask=mask).logits[:, 4:], ours(tokens).logits)


def test_unknown_arguments_are_refused(pair):
    ours, _ = pair("GPT2LMHeadModel")
    with pytest.raises(TypeError, match="head_mask"):
        ours(IDS, head_mask=None)
