"""A checkpointed layer computes its forward again in the backward pass, and only then."""

import copy
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from transept.cache import DynamicCache
from transept.errors import InputError
from transept.nn import CheckpointedLayer, cache_for


class Layer(CheckpointedLayer):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.calls = 0

    def forward(self, hidden_states, *, scale=1.0):
        """Doc."""
        self.calls += 1
        return torch.tanh(self.linear(hidden_states)) * scale, None


class Wider(Layer):
    def forward(self, hidden_states, *, scale=1.0):
        output, _ = super().forward(hidden_states, scale=scale)
        return output + 1, None


def gradients(layer, arguments, inputs):
    layer.zero_grad()
    layer.calls = 0
    layer.set_gradient_checkpointing(arguments)
    layer(inputs, scale=3.0)[0].sum().backward()
    return layer.calls, [parameter.grad.clone() for parameter in layer.parameters()]


@pytest.mark.parametrize("make", [Layer, Wider])
@pytest.mark.parametrize("arguments", [{}, {"use_reentrant": True}, {"preserve_rng_state": False}])
def test_gradients_are_equal_and_forward_runs_twice(make, arguments):
    layer, inputs = make().train(), torch.randn(2, 4, requires_grad=True)
    once, expected = gradients(layer, None, inputs)
    twice, found = gradients(layer, arguments, inputs)
    assert (once, twice) == (1, 2)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("arguments", [{}, {"use_reentrant": True}])
def test_gradients_flow_to_what_keywords_bring(arguments):
    """A bias that every layer shares, computed once from a parameter."""
    layers, table = [Layer().train(), Layer().train()], torch.randn(2, 4, requires_grad=True)
    inputs, found = torch.randn(2, 4, requires_grad=True), []
    for how in (None, arguments):
        hidden_states, scale = inputs, table * 2
        for layer in layers:
            layer.set_gradient_checkpointing(how)
            hidden_states, _ = layer(hidden_states, scale=scale)
        found.append(torch.autograd.grad(hidden_states.sum(), table) if how is None else _accumulated(hidden_states, table))
    assert torch.equal(found[0][0], found[1][0])


def _accumulated(output, parameter):
    output.sum().backward()  # reentrant checkpoints know no other way
    return [parameter.grad]


def test_evaluation_and_disabling_run_once():
    layer = Layer()
    layer.set_gradient_checkpointing({})
    layer.eval()
    layer(torch.randn(2, 4, requires_grad=True))[0].sum().backward()
    assert layer.calls == 1
    layer.train().set_gradient_checkpointing(None)
    layer(torch.randn(2, 4, requires_grad=True))[0].sum().backward()
    assert layer.calls == 2
    assert not layer.gradient_checkpointing


def test_hooks_run_once_and_the_signature_stays():
    layer, seen = Layer().train(), []
    layer.set_gradient_checkpointing({})
    layer.register_forward_pre_hook(lambda *_: seen.append(1))
    layer(torch.randn(2, 4, requires_grad=True))[0].sum().backward()
    assert len(seen) == 1
    assert Layer.forward.__doc__ == "Doc."
    assert copy.deepcopy(layer).gradient_checkpointing


def model_with(layer, use_cache=True):
    model = nn.Module()
    model.layer = layer
    model.config = SimpleNamespace(use_cache=use_cache, num_hidden_layers=1)
    return model


def test_cache_is_made_where_it_is_wanted():
    model, given = model_with(Layer()), DynamicCache()
    assert isinstance(cache_for(model.eval(), None, None), DynamicCache)
    assert cache_for(model, False, None) is None
    assert cache_for(model, False, given) is given
    assert cache_for(model_with(Layer(), use_cache=False), None, None) is None
    with pytest.raises(InputError, match="`past_key_values` is a `tuple`"):
        cache_for(model, True, ())


def test_checkpointing_drops_an_empty_cache_and_refuses_a_full_one():
    layer = Layer()
    layer.set_gradient_checkpointing({})
    model = model_with(layer).train()
    for use_cache, given in ((None, None), (True, None), (False, DynamicCache())):
        with pytest.warns(UserWarning, match="trains without a cache"):
            assert cache_for(model, use_cache, given) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache_for(model, False, None) is None
    full = DynamicCache()
    full.update(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), 0)
    with pytest.raises(InputError, match="holds tokens"):
        cache_for(model, None, full)
