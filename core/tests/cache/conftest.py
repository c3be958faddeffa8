"""Caches of every kind over a model of two layers, and keys and values to put into them."""

from __future__ import annotations

import pytest
import torch

from transept.cache import DynamicCache, StaticCache


class Config:
    num_hidden_layers = 2
    hidden_size = 16
    num_attention_heads = 4
    num_key_value_heads = 2

    def __init__(self, **fields):
        vars(self).update(fields)


@pytest.fixture
def config():
    return Config


MAKE = {
    "dynamic": lambda size: DynamicCache(),
    "dynamic of a config": lambda size: DynamicCache(Config()),
    "static": lambda size: StaticCache(Config(), size),
    "static at once": lambda size: StaticCache(Config(), size, batch_size=2, dtype=torch.float32),
    "static whole": lambda size: StaticCache(Config(), size, whole=True),
}


@pytest.fixture(params=MAKE)
def new_cache(request):
    """A function from a size to a cache that holds at least so many tokens."""
    return MAKE[request.param]


@pytest.fixture
def states():
    """Keys and values, (batch, 2, length, 4)."""
    generator = torch.Generator().manual_seed(0)

    def make(length, batch=2, **options):
        return tuple(torch.randn(batch, length, 2, 4, generator=generator, **options).transpose(1, 2) for _ in "kv")

    return make
