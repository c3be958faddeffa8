"""The core's caches pass what anybody's cache has to pass."""

import pytest
import torch

pytest.importorskip("transept_testing")
from transept_testing import CacheConformance

MIXED = {"sliding_window": 20, "layer_types": ["sliding_attention", "full_attention"]}


class TestDynamic(CacheConformance):
    key = "dynamic"
    supports_compile = True


class TestDynamicInHalfPrecision(TestDynamic):
    dtype = torch.bfloat16
    attention_tolerance = 0.02


class TestSliding(CacheConformance):
    key = "dynamic"
    config = {"sliding_window": 20}  # noqa: RUF012
    rollback = 32
    supports_compile = True


class TestSlidingBesideFull(TestSliding):
    config = MIXED


class TestStatic(CacheConformance):
    key = "static"
    fixed_size = True
    supports_compile = True


class TestStaticWhole(TestStatic):
    options = {"whole": True}  # noqa: RUF012


class TestStaticBesideSliding(TestStatic):
    config = MIXED
    rollback = 32
