"""8-bit weights pass what every quantizer has to pass."""

from __future__ import annotations

import importlib.metadata

import pytest

pytest.importorskip("transept_testing")
from transept_testing import QuantizerConformance


class TestInt8(QuantizerConformance):
    key = "int8"
    settings = {"groups of 32": {}, "groups of 16": {"group_size": 16}, "rows": {"group_size": -1}}  # noqa: RUF012
    indivisible = {"groups of 24": {"group_size": 24}}  # noqa: RUF012
    error = 0.05
    bits = 9.0

    @pytest.fixture(autouse=True)
    def _its_own_products(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without native products that may be installed beside: those round inputs, and models only get them from a load."""
        installed = {dist.name for dist in importlib.metadata.distributions()}
        served = {"transept-int8", *(f"transept-{one.model_type}" for one in self.architectures.values())} & installed
        monkeypatch.setenv("TRANSEPT_PLUGINS", ",".join(sorted(served)))
