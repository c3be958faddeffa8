"""`torch.compile(fullgraph=True)` and `torch.export` follow attention with its caches, also when the first call ever is traced."""

import io

import pytest
import torch
from torch import nn

from transept.attention import Attention, MaskSpec
from transept.cache import DynamicCache, StaticCache, mask_sizes


class Config:
    num_hidden_layers = 1
    hidden_size = 16
    num_attention_heads = 4
    num_key_value_heads = 2


class Block(nn.Module):
    def __init__(self, name="auto"):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(16, 16), nn.Linear(16, 8), nn.Linear(16, 8)
        self.attention, self.second = Attention(name), Attention("eager")

    def forward(self, x, keep=None, cache=None, window=None):
        batch, length, _ = x.shape
        keys, offset = mask_sizes(cache, length)
        mask = MaskSpec("causal", length, keys, offset, sliding_window=window, keep=keep)
        query, key, value = (
            projection(x).view(batch, length, -1, 4).transpose(1, 2) for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if cache is not None:
            key, value = cache.update(key, value, 0)
        mixed, _ = self.attention(query, key, value, mask=mask)
        return self.second(mixed, key, value, mask=mask)[0]


def inputs(length, kind):
    if kind == "keep":
        return torch.randn(2, length, 16), {"keep": torch.arange(length).expand(2, -1) > 1}
    return torch.randn(2, length, 16), {"window": 3} if kind == "window" else {}


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["auto", "eager"])
@pytest.mark.parametrize("kind", ["causal", "keep", "window"])
@pytest.mark.parametrize("dynamic", [None, True])
def test_compiled_without_a_break(name, kind, dynamic):
    block = Block(name)
    compiled = torch.compile(block, fullgraph=True, backend="eager", dynamic=dynamic)
    for length in (6, 9):
        x, rest = inputs(length, kind)
        torch.testing.assert_close(compiled(x, **rest), block(x, **rest))


def test_a_refusal_while_compiling_says_why():
    attention = Attention("sdpa")

    def attend(query):
        return attention(query, query, query, mask=MaskSpec.causal(3), softcap=1.0)[0]

    with pytest.raises(Exception, match="`sdpa` cannot serve this request: it lacks a `softcap`"):
        torch.compile(attend, fullgraph=True, backend="eager")(torch.randn(1, 2, 3, 4))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "most"), [("dynamic", 3), ("static", 2), ("whole", 2)])
def test_cached_steps_are_compiled_a_few_times_only(kind, most):
    def cache():
        return DynamicCache() if kind == "dynamic" else StaticCache(Config, 32, whole=kind == "whole")

    block, counter = Block(), torch._dynamo.testing.CompileCounter()
    compiled, theirs, ours = torch.compile(block, fullgraph=True, backend=counter), cache(), cache()
    for length in (6, 1, 1, 1, 1, 1):
        x = torch.randn(2, length, 16)
        torch.testing.assert_close(compiled(x, cache=theirs), block(x, cache=ours))
    assert theirs.get_seq_length() == 11
    assert counter.frame_count <= most


def test_layers_compiled_one_by_one_share_a_mask():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention()

        def forward(self, query, mask):
            return self.attention(query, query, query, mask=mask)[0]

    layers = [torch.compile(Layer(), fullgraph=True, backend="eager") for _ in range(3)]
    for _ in range(2):
        mask, query = MaskSpec.causal(4, keep=torch.arange(4).expand(2, -1) > 0), torch.randn(2, 2, 4, 8)
        for layer in layers:
            torch.testing.assert_close(layer(query, mask), Layer()(query, mask))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", ["causal", "keep", "window"])
def test_exported_for_every_length(kind, strict):
    block = Block()
    x, rest = inputs(6, kind)
    length = torch.export.Dim("length", min=2, max=512)
    shapes = {"x": {1: length}, **({"keep": {1: length}} if kind == "keep" else dict.fromkeys(rest))}
    exported = torch.export.export(block, (x,), rest, dynamic_shapes=shapes, strict=strict).module()
    for size in (6, 2, 11):
        x, rest = inputs(size, kind)
        torch.testing.assert_close(exported(x, **rest), block(x, **rest))


class ReturnsCache(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, x, cache=None):
        cache = DynamicCache() if cache is None else cache
        return self.block(x, cache=cache), cache


@torch.no_grad()
@pytest.mark.parametrize("strict", [False, True])
def test_a_cache_goes_out_of_an_exported_graph_and_in_again(strict):
    model, x = ReturnsCache(), torch.randn(2, 6, 16)
    length = torch.export.Dim("length", min=2, max=512)
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {1: length}}, strict=strict)
    saved = io.BytesIO()
    torch.export.save(program, saved)
    saved.seek(0)
    x = torch.randn(2, 7, 16)
    _, cache = torch.export.load(saved).module()(x)
    assert type(cache) is DynamicCache
    assert cache.get_seq_length() == 7
    token, (_, expected) = torch.randn(2, 1, 16), model(x)
    step = torch.export.export(model, (token, cache), strict=strict).module()
    torch.testing.assert_close(step(token, cache)[0], model(token, expected)[0])


def test_a_mask_goes_into_an_exported_graph():
    class Attends(nn.Module):
        def forward(self, query, mask):
            return Attention()(query, query, query, mask=mask)[0]

    query = torch.randn(2, 2, 4, 8)
    mask = MaskSpec.causal(4, keep=torch.arange(4).expand(2, -1) > 0)
    program = torch.export.export(Attends(), (query, mask), strict=False)
    torch.export.save(program, io.BytesIO())
    other = MaskSpec.causal(4, keep=torch.arange(4).expand(2, -1) != 2)
    torch.testing.assert_close(program.module()(query, other), Attends()(query, other))
