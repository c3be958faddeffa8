"""The kit passes a quantizer that keeps every promise, each check of it."""

import pytest
from transept_testing import QuantizerConformance

from transept_hookspecs import QuantizerSpec

pytest.importorskip("transept_llama")
pytestmark = pytest.mark.usefixtures("toy_quantizer")


class TestToyQuantizer(QuantizerConformance):
    key = "toy-groups"
    settings = {"groups of 32": {}, "groups of 16": {"group_size": 16}}  # noqa: RUF012
    indivisible = {"groups of 48": {"group_size": 48}}  # noqa: RUF012

    @classmethod
    def record(cls):
        return QuantizerSpec(
            key="toy-groups",
            config="toy_quantizer:ToyConfig",
            rewrite="toy_quantizer:make",
            presets={"toy-16": {"group_size": 16}},
            training=True,
        )
