"""Sink caches pass what anybody's cache has to pass; what they give is reckoned here with complex numbers."""

import torch
from transept_testing import CacheConformance

ROPE = {"max_position_embeddings": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}


class TestSink(CacheConformance):
    key = "sink"
    options = {"window_length": 24, "num_sink_tokens": 4}  # noqa: RUF012
    config = ROPE
    rollback = 32
    tolerance = 1e-5
    turning = 8  # channels of a head that are rotated

    def slides(self, layer_idx):
        return self.window(layer_idx) is not None and self.window(layer_idx) <= self.options["window_length"]

    def visible(self, past, layer_idx):
        if self.slides(layer_idx):
            return super().visible(past, layer_idx)
        sinks, window = self.options["num_sink_tokens"], self.options["window_length"]
        return [place for place in range(past) if place < sinks or place > past - (window - sinks)]

    def given_keys(self, keys, layer_idx):
        places = self.visible(keys.shape[2], layer_idx)
        found = keys[:, :, places].clone()
        if self.slides(layer_idx):
            return found
        sinks = self.options["num_sink_tokens"]
        missing = keys.shape[2] - len(places)
        half = self.turning // 2
        angles = missing / 100.0 ** (torch.arange(half, dtype=torch.float64) / half)
        pairs = torch.complex(found[..., :half].double(), found[..., half : self.turning].double())[:, :, :sinks]
        turned = pairs * torch.polar(torch.ones_like(angles), angles)
        found[:, :, :sinks, :half], found[:, :, :sinks, half : self.turning] = turned.real, turned.imag
        return found


class TestOneSinkAndAWideWindow(TestSink):
    options = {"window_length": 60, "num_sink_tokens": 1}  # noqa: RUF012


class TestNoSinks(TestSink):
    options = {"window_length": 24, "num_sink_tokens": 0}  # noqa: RUF012


class TestNarrowest(TestSink):
    options = {"window_length": 5, "num_sink_tokens": 4}  # noqa: RUF012


class TestPartlyRotated(TestSink):
    config = {  # noqa: RUF012
        "max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
    }
    turning = 4


class TestBesideSliding(TestSink):
    config = {**ROPE, "sliding_window": 20, "layer_types": ["sliding_attention", "full_attention"]}  # noqa: RUF012


class TestHalfPrecision(TestSink):
    dtype = torch.bfloat16
    tolerance = 0.01
    attention_tolerance = 0.03
