"""The core's caches pass what anybody's cache has to pass."""

import pytest
import torch

pytest.importorskip("transept_testing")
from transept_testing import CacheConformance

from transept.cache import DynamicCache, EncoderDecoderCache

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


class TestEncoderDecoder(CacheConformance):
    """The decoder's own tokens; what is kept of the encoder follows the rows."""

    def make_cache(self, length, batch):
        cross = DynamicCache()
        for layer_idx in range(2):
            cross.update(torch.zeros(batch, 2, 3, 8), torch.zeros(batch, 2, 3, 8), layer_idx)
        return EncoderDecoderCache(DynamicCache(self.model_config()), cross)


class TestStatic(CacheConformance):
    key = "static"
    fixed_size = True
    supports_compile = True


class TestStaticWhole(TestStatic):
    options = {"whole": True}  # noqa: RUF012


class TestStaticBesideSliding(TestStatic):
    config = MIXED
    rollback = 32
