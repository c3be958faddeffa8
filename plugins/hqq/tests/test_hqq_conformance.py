"""HQQ passes what every quantizer has to pass."""

import pytest

pytest.importorskip("transept_testing")
from transept_testing import QuantizerConformance
from transept_testing.quantizers.suite import ARCHITECTURES


class TestHQQ(QuantizerConformance):
    key = "hqq"
    settings = {  # noqa: RUF012
        "4 bits": {"group_size": 32},
        "4 bits apart": {"group_size": 32, "axis": 0},
        "3 bits": {"nbits": 3, "group_size": 16},
        "8 bits": {"nbits": 8, "group_size": 64},
    }
    indivisible = {"groups of 40": {"group_size": 40}}  # noqa: RUF012
    error = 0.45


class TestHQQOfFewBits(QuantizerConformance):
    key = "hqq"
    settings = {  # noqa: RUF012
        "2 bits": {"nbits": 2, "group_size": 16},
        "1 bit": {"nbits": 1, "group_size": 8},
    }
    architectures = {"llama": ARCHITECTURES["llama"]}  # noqa: RUF012
    error = 1.2  # a tiny model of random weights has nothing to spare
