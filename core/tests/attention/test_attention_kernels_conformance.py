"""The built-in kernels do what their records promise."""

from transept_testing import AttentionKernelConformance


class TestEager(AttentionKernelConformance):
    key = "eager"


class TestSdpa(AttentionKernelConformance):
    key = "sdpa"
