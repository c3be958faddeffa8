"""What torchao packs passes what every quantizer has to pass."""

import pytest

pytest.importorskip("transept_testing")
from transept_testing import QuantizerConformance


@pytest.mark.parity
class TestWeightsAlone(QuantizerConformance):
    key = "torchao"
    settings = {  # noqa: RUF012
        "int8": {"quant_type": "int8_weight_only"},
        "int8 in groups": {"quant_type": "int8_weight_only", "group_size": 32},
        "float8": {"quant_type": "float8_weight_only"},
    }
    indivisible = {"groups of 48": {"quant_type": "int8_weight_only", "group_size": 48}}  # noqa: RUF012
    error = 0.1
    dequantized_error = 1e-3
    xfails = {  # noqa: RUF012
        "test_copies_and_pickles_are_models_of_their_own[llama-float8]": "torch itself pickles no tensor of float8",
    }


@pytest.mark.parity
class TestFourBitsInGroups(QuantizerConformance):
    key = "torchao"
    settings = {"int4 in groups": {"quant_type": "intx_weight_only", "group_size": 32}}  # noqa: RUF012
    indivisible = {"groups of 48": {"quant_type": "intx_weight_only", "group_size": 48}}  # noqa: RUF012
    error = 0.45


@pytest.mark.parity
class TestInputsToo(QuantizerConformance):
    key = "torchao"
    settings = {"int8 dynamic": {"quant_type": "int8_dynamic_activation_int8_weight"}}  # noqa: RUF012
    error = 0.1
    dequantized_error = 3e-2  # inputs are rounded as well
