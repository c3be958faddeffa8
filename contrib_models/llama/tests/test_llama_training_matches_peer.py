"""Losses and gradients are the peer's, with and without recomputation."""

import pytest
import torch


def gradients(model, **inputs):
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def labels_of(tokens):
    labels = tokens.clone()
    labels[0, :3] = -100
    return labels


@pytest.mark.parametrize("num_items", [None, 5, torch.tensor(7)])
@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_gradients(pair, ids, assert_equal_to_scale, num_items, tied):
    models = pair("LlamaForCausalLM", tie_word_embeddings=tied)
    inputs = {"input_ids": ids(), "labels": labels_of(ids())}
    if num_items is not None:
        inputs["num_items_in_batch"] = num_items
    loss, found = gradients(models.ours.train(), **inputs)
    peer_loss, expected = gradients(models.peer.train(), **inputs)
    torch.testing.assert_close(loss, peer_loss, rtol=1e-5, atol=0)
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        assert_equal_to_scale(found[name], grad, 2e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_gradients_under_padding(pair, ids, assert_equal_to_scale, implementation):
    models = pair("LlamaForCausalLM")
    models.ours.set_attention(implementation)
    tokens, mask = ids(), torch.ones(2, 11, dtype=torch.long)
    tokens[1, 8:], mask[1, 8:] = 0, 0
    inputs = {"input_ids": tokens, "attention_mask": mask, "labels": tokens.masked_fill(mask == 0, -100)}
    loss, found = gradients(models.ours.train(), **inputs)
    peer_loss, expected = gradients(models.peer.train(), **inputs)
    torch.testing.assert_close(loss, peer_loss, rtol=1e-5, atol=0)
    for name, grad in expected.items():
        assert_equal_to_scale(found[name], grad, 2e-5)


@pytest.mark.parametrize("arguments", [None, {"use_reentrant": True}, {"use_reentrant": False, "preserve_rng_state": False}])
def test_recomputed_gradients_are_the_same(pair, ids, arguments):
    model = pair("LlamaForCausalLM").ours.train()
    model.config.use_cache = False
    inputs = {"input_ids": ids(), "labels": labels_of(ids())}
    _, expected = gradients(model, **inputs)
    model.gradient_checkpointing_enable(arguments)
    assert model.is_gradient_checkpointing
    model.enable_input_require_grads()
    _, found = gradients(model, **inputs)
    for name, grad in expected.items():
        assert torch.equal(found[name], grad), name
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_recomputation_draws_the_same_dropout(pair, ids):
    model = pair("LlamaForCausalLM", attention_dropout=0.4).ours.train()
    model.config.use_cache = False
    inputs = {"input_ids": ids(), "labels": labels_of(ids())}
    torch.manual_seed(7)
    _, expected = gradients(model, **inputs)
    model.gradient_checkpointing_enable()
    torch.manual_seed(7)
    _, found = gradients(model, **inputs)
    for name, grad in expected.items():
        assert torch.equal(found[name], grad), name


def test_recomputation_goes_without_a_cache(pair, ids):
    model = pair("LlamaForCausalLM").ours.train()
    model.gradient_checkpointing_enable()
    with pytest.warns(UserWarning, match="trains without a cache"):
        assert model(ids()).past_key_values is None
    model.eval()
    cache = model(ids()).past_key_values
    assert cache.get_seq_length() == 11
    with pytest.raises(ValueError, match="holds tokens"):
        model.train()(ids()[:, :1], past_key_values=cache)


def test_frozen_weights_pass_gradients_on(pair, ids):
    model = pair("LlamaForCausalLM").ours.train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.lm_head.weight.requires_grad_(True)
    loss, _ = model(ids(), labels=ids()).loss, None
    loss.backward()
    assert model.lm_head.weight.grad is not None
    assert model.model.embed_tokens.weight.grad is None
