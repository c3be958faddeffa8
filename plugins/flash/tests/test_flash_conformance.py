"""What surrounds flash's functions does what the records promise: here around stand-ins for them in plain torch."""

import pytest
from transept_testing import AttentionKernelConformance


class _OnTheCPU(AttentionKernelConformance, standard=True):
    """Requests go to the kernel itself: its record asks for a GPU."""

    def attend(self, query, key, value, **request):
        return self.kernel()(query, key, value, **request)

    @pytest.fixture(autouse=True)
    def _able(self, stand_in):
        pass


class TestFlashAttention2(_OnTheCPU):
    key = "flash_attention_2"


class TestFlashAttention3(_OnTheCPU):
    key = "flash_attention_3"
