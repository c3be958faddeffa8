"""Flex attention does what its record promises: here on whole index grids, as requests are too small to be compiled."""

from transept_testing import AttentionKernelConformance


class TestFlexAttention(AttentionKernelConformance):
    key = "flex_attention"
