"""What `generate` refuses, repairs or explains: prompts, lengths, flags."""

from __future__ import annotations

import warnings

import pytest
import torch

from transept.discovery import registry
from transept.errors import GenerationError, PluginNotFoundError, UnknownArgumentError
from transept.generation import GenerationConfig

PROMPT = torch.tensor([[3, 17, 8, 25]])


def test_no_new_tokens_returns_the_prompt(model):
    assert torch.equal(model.generate(PROMPT, max_new_tokens=0), PROMPT)
    assert model.generate(PROMPT, max_new_tokens=0, output_scores=True, return_dict_in_generate=True).scores == ()
    assert not model.calls


def test_an_empty_prompt_starts_from_bos(model):
    expected = model.generate(torch.tensor([[6], [6]]), max_new_tokens=3)
    model.generation_config.bos_token_id = model.generation_config.pad_token_id = 6
    for prompt in (torch.empty(2, 0, dtype=torch.long), torch.empty(2, 0)):
        out = model.generate(prompt, attention_mask=torch.empty(2, 0), max_new_tokens=3)
        assert torch.equal(out, expected)
    assert torch.equal(model.generate(max_new_tokens=3), expected[:1])


def test_an_empty_prompt_without_bos_is_refused(model):
    for prompt in (None, torch.empty(1, 0, dtype=torch.long)):
        with pytest.raises(GenerationError, match=r"prompt is empty.*`bos_token_id`"):
            model.generate(prompt, max_new_tokens=3)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (torch.tensor([1, 2]), "add a dimension"),
        ([[1, 2]], "return_tensors"),
        (torch.ones(1, 2), "token ids"),
        ({"input_ids": PROMPT}, r"\*\*encoded"),
        (torch.ones(1, 2, 3, dtype=torch.long), "token ids"),
    ],
)
def test_a_prompt_of_another_form_is_refused(model, prompt, message):
    with pytest.raises(GenerationError, match=message):
        model.generate(prompt, max_new_tokens=2)
    with pytest.raises(GenerationError, match="twice"):
        model.generate(PROMPT, input_ids=PROMPT, max_new_tokens=2)


def test_padding_on_the_right_is_refused(model):
    ids = torch.tensor([[1, 2, 3], [1, 2, 39]])
    with pytest.raises(GenerationError, match="padding_side = 'left'"):
        model.generate(ids, attention_mask=torch.tensor([[1, 1, 1], [1, 1, 0]]), max_new_tokens=2)
    with pytest.raises(GenerationError, match="`attention_mask` of ones"):
        model.generate(ids, pad_token_id=39, max_new_tokens=2)
    model.generate(ids, pad_token_id=39, attention_mask=torch.ones(2, 3), max_new_tokens=2)


def test_padding_is_inferred_from_the_pad_token(model):
    ids, mask = torch.tensor([[39, 39, 3, 5], [7, 8, 9, 10]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=5)
    assert torch.equal(model.generate(ids, pad_token_id=39, max_new_tokens=5), expected)
    with pytest.warns(UserWarning, match="Pass the mask"):
        unmasked = model.generate(ids, pad_token_id=39, eos_token_id=39, max_new_tokens=5)
    assert not torch.equal(unmasked[:, : expected.shape[1]], expected)


def test_a_mask_of_another_shape_is_refused(model):
    with pytest.raises(GenerationError, match=r"\(1, 3\).*\(1, 4\)"):
        model.generate(PROMPT, attention_mask=torch.ones(1, 3), max_new_tokens=2)


def test_a_prompt_longer_than_the_context_is_refused(model):
    for length in (64, 80):
        with pytest.raises(GenerationError, match=rf"prompt has {length} tokens.*has 64"):
            model.generate(torch.ones(1, length, dtype=torch.long), max_new_tokens=1)
    assert model.generate(torch.ones(1, 64, dtype=torch.long), max_new_tokens=0).shape[1] == 64


def test_generation_ends_at_the_context_and_says_so(model):
    with pytest.warns(UserWarning, match="ends at 64 tokens.*70 were asked for"):
        assert model.generate(torch.ones(1, 60, dtype=torch.long), max_new_tokens=10).shape[1] == 64


def test_positions_that_scale_with_the_length_have_no_end(make_model):
    model = make_model(max_position_embeddings=8)
    model.positions = torch.nn.Embedding(30, 16)
    model.config.rope_parameters = {"rope_type": "dynamic", "factor": 4.0}
    assert model.generate(torch.ones(1, 9, dtype=torch.long), max_new_tokens=5).shape[1] == 14


def test_lengths(model):
    assert model.generate(PROMPT, max_length=9).shape[1] == 9
    with pytest.warns(UserWarning, match="`max_new_tokens=2` is followed"):
        assert model.generate(PROMPT, max_length=9, max_new_tokens=2).shape[1] == 6
    with pytest.warns(UserWarning, match="20 are generated"):
        assert model.generate(PROMPT).shape[1] == 24
    with pytest.raises(GenerationError, match="has 4 tokens, and `max_length` is 4"):
        model.generate(PROMPT, max_length=4)
    model.generation_config.max_new_tokens = 3
    assert model.generate(PROMPT).shape[1] == 7
    assert model.generate(PROMPT, max_length=12).shape[1] == 12  # the call comes before the checkpoint


def test_an_unknown_argument_is_refused_with_the_nearest(model):
    with pytest.raises(UnknownArgumentError, match=r"`max_new_token`.*`max_new_tokens`"):
        model.generate(PROMPT, max_new_token=3)
    with pytest.raises(UnknownArgumentError, match="Did you mean `attention_mask`"):
        model.generate(PROMPT, max_new_tokens=3, attention_msk=None)
    with pytest.raises(UnknownArgumentError, match="labels"):
        model.generate(PROMPT, max_new_tokens=3, labels=PROMPT)


def test_flags_that_contradict_each_other_are_refused(model):
    with pytest.raises(GenerationError, match=r"`do_sample=False` contradicts `temperature=0.7`"):
        model.generate(PROMPT, do_sample=False, temperature=0.7, max_new_tokens=2)
    with pytest.raises(GenerationError, match="num_return_sequences=3"):
        model.generate(PROMPT, num_return_sequences=3, max_new_tokens=2)


def test_a_checkpoints_values_never_contradict(model):
    model.generation_config = GenerationConfig.from_dict(
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "length_penalty": 2}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate(PROMPT, do_sample=False, max_new_tokens=2)
        model.generate(PROMPT, temperature=0, max_new_tokens=2)


def test_a_flag_without_effect_is_named(model):
    for flag in ({"temperature": 0.7}, {"early_stopping": True}, {"output_scores": True}):
        with pytest.warns(UserWarning, match=f"`{next(iter(flag))}=.* has no effect without"):
            model.generate(PROMPT, max_new_tokens=2, **flag)


def test_a_checkpoints_impossible_value_is_named_when_it_is_used(model):
    model.generation_config = GenerationConfig.from_dict({"top_p": 3.0})
    with pytest.raises(GenerationError, match="`top_p`"):
        model.generate(PROMPT, max_new_tokens=2)


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"num_beams": 4}, "beam_search"),
        ({"num_beams": 4, "do_sample": True}, "beam_sample"),
        ({"num_beam_groups": 2, "num_beams": 4, "diversity_penalty": 0.1}, "group_beam_search"),
        ({"force_words_ids": [[1]], "num_beams": 2}, "constrained"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive"),
        ({"prompt_lookup_num_tokens": 3}, "assisted"),
        ({"assistant_model": object()}, "assisted"),
        ({"dola_layers": "high"}, "dola"),
        ({"watermarking_config": {"bias": 2.0}}, "watermark"),
        ({"token_healing": True}, "token_healing"),
        ({"decoding": "telepathy"}, "telepathy"),
    ],
)
def test_an_absent_strategy_is_a_plugin_to_install(model, flags, key):
    absent = pytest.raises(PluginNotFoundError, match=rf"'{key}'.*asked for by `{next(iter(flags))}")
    with registry.isolated(), absent as caught:  # whatever is installed here
        model.generate(PROMPT, max_new_tokens=2, **flags)
    assert caught.value.key == key


def test_a_model_among_the_flags_is_named_and_not_printed(model):
    with registry.isolated(), pytest.raises(PluginNotFoundError, match=r"asked for by `assistant_model=<\w+>`") as caught:
        model.generate(PROMPT, max_new_tokens=2, assistant_model=model)
    assert "\n" not in str(caught.value)


def test_two_strategies_at_once_are_refused(model):
    with pytest.raises(GenerationError, match=r"num_beams=2.*dola_layers"):
        model.generate(PROMPT, num_beams=2, dola_layers="low", max_new_tokens=2)


def test_an_argument_that_the_chosen_strategy_does_not_take_is_refused(model):
    with pytest.raises(GenerationError, match="takes no `assistant_model`"):
        model.generate(PROMPT, decoding="greedy", assistant_model=object(), max_new_tokens=2)


def test_an_absent_cache_is_a_plugin_to_install(model):
    with pytest.raises(PluginNotFoundError, match="No installed plugin provides cache 'hollow'"):
        model.generate(PROMPT, cache_implementation="hollow", max_new_tokens=2)
    model.generation_config = GenerationConfig.from_dict({"cache_implementation": "hybrid"})
    model.generate(PROMPT, max_new_tokens=2)  # old checkpoints name it; the layers know better


@pytest.mark.parametrize("flags", [{"synced_gpus": True}, {"custom_generate": "someone/code"}, {"compile_config": {}}])
def test_what_is_not_supported_is_refused(model, flags):
    with pytest.raises(GenerationError, match=next(iter(flags))):
        model.generate(PROMPT, max_new_tokens=2, **flags)


def test_a_flag_that_the_given_config_switches_off_is_named(model):
    with pytest.warns(UserWarning, match="`temperature=0.7` has no effect without `do_sample=True`"):
        model.generate(PROMPT, generation_config=GenerationConfig(do_sample=False), temperature=0.7, max_new_tokens=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = GenerationConfig(do_sample=True, temperature=0.7)
        model.generate(PROMPT, generation_config=given, do_sample=False, max_new_tokens=2)  # on purpose
        model.generate(PROMPT, do_sample=True, temperature=0, top_p=0.9, max_new_tokens=2)


@pytest.mark.parametrize("flags", [{"num_assistant_tokens": 5}, {"low_memory": True}])
def test_a_flag_of_a_strategy_that_is_not_asked_for_is_named(model, flags):
    with pytest.warns(UserWarning, match=f"`{next(iter(flags))}` has no effect"):
        model.generate(PROMPT, max_new_tokens=2, **flags)


def test_an_argument_of_the_model_that_is_none_is_none(model):
    expected = model.generate(PROMPT, max_new_tokens=3)
    assert torch.equal(model.generate(PROMPT, token_type_ids=None, attention_mask=None, max_new_tokens=3), expected)


@pytest.mark.parametrize("name", ["next_sequence_length", "is_first_iteration", "logits_to_keep"])
def test_what_the_loop_itself_sets_is_refused(model, name):
    with pytest.raises(UnknownArgumentError, match=name):
        model.generate(PROMPT, max_new_tokens=2, **{name: 1})


def test_both_least_lengths_are_kept(model):
    for least in ({"min_length": 9, "min_new_tokens": 2}, {"min_length": 6, "min_new_tokens": 5}):
        out = model.generate(PROMPT, eos_token_id=list(range(39)), max_new_tokens=9, **least)
        assert set(out[0, 4:9].tolist()) == {39}


@pytest.mark.parametrize(
    "flags", [{"forced_eos_token_id": []}, {"exponential_decay_length_penalty": (1, 1.5)}, {"suppress_tokens": [-1]}]
)
def test_tokens_that_are_none_are_refused(model, flags):
    with pytest.raises(GenerationError, match="at least one"):
        model.generate(PROMPT, max_new_tokens=2, **flags)
