"""Caches of 4 and 8 bits pass what anybody's cache has to pass, as exactly as so many bits can be."""

import torch
from transept_testing import CacheConformance

SMALL = {"q_group_size": 8, "residual_length": 24}


class TestInt8(CacheConformance):
    key = "quantized"
    options = {"nbits": 8, **SMALL}  # noqa: RUF012
    tolerance = 0.006  # half a step of 255, of numbers that lie to both sides of 0
    attention_tolerance = 0.02


class TestInt4(CacheConformance):
    key = "quantized"
    options = {"nbits": 4, **SMALL}  # noqa: RUF012
    tolerance = 0.1  # half a step of 15
    attention_tolerance = 0.25


class TestDefaults(TestInt4):
    options = {"nbits": 4}  # noqa: RUF012
    head_dim = 64


class TestHalfPrecision(TestInt8):
    dtype = torch.bfloat16


class TestFloat16(TestInt8):
    dtype = torch.float16


class TestWindows(TestInt8):
    config = {"sliding_window": 40, "layer_types": ["sliding_attention", "full_attention"]}  # noqa: RUF012
    rollback = 32


class TestEveryLayerSlides(TestInt8):
    config = {"sliding_window": 40}  # noqa: RUF012
    rollback = 32


class TestNarrowWindows(TestInt8):
    config = {"sliding_window": 20}  # noqa: RUF012
    rollback = 32
    tolerance = 0.0
