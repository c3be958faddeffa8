"""The built-in kernels do what their records promise."""

import pytest
from transept_testing import AttentionKernelConformance

from transept.attention import sdpa


class TestEager(AttentionKernelConformance):
    key = "eager"


class TestSdpa(AttentionKernelConformance):
    key = "sdpa"


class TestSdpaInRuns(TestSdpa):
    """Every mask in runs of two queries, as the long ones are."""

    @pytest.fixture(autouse=True)
    def _runs(self, monkeypatch):
        monkeypatch.setattr(sdpa, "_LARGE", 0)
        monkeypatch.setattr(sdpa, "_run", lambda mask: 2)
