"""Both quantizers pass what every quantizer has to pass."""

import pytest
import torch

pytest.importorskip("transept_testing")
from transept_testing import QuantizerConformance

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


@pytest.mark.parity
class TestFourBit(QuantizerConformance):
    key = "bitsandbytes"
    settings = {  # noqa: RUF012
        "nf4": NF4,
        "nf4 twice": {**NF4, "bnb_4bit_use_double_quant": True},
        "fp4": {"load_in_4bit": True},
        "nf4 as bfloat16": {**NF4, "bnb_4bit_quant_storage": "bfloat16", "bnb_4bit_use_double_quant": True},
    }
    skip_field = "llm_int8_skip_modules"
    error = 0.45


@pytest.mark.parity
class TestFourBitInHalfPrecision(QuantizerConformance):
    key = "bitsandbytes"
    settings = {  # noqa: RUF012
        "nf4 in float16": {**NF4, "bnb_4bit_compute_dtype": torch.float16},
        "nf4 in bfloat16": {**NF4, "bnb_4bit_compute_dtype": "bfloat16"},
    }
    skip_field = "llm_int8_skip_modules"
    error = 0.45
    dequantized_error = 2e-2  # products are rounded to the compute dtype


@pytest.mark.parity
class TestLLMInt8(QuantizerConformance):
    key = "bitsandbytes"
    settings = {  # noqa: RUF012
        "8 bits": {"load_in_8bit": True},
        "8 bits, no outliers": {"load_in_8bit": True, "llm_int8_threshold": 0.0},
    }
    skip_field = "llm_int8_skip_modules"
    dequantized_error = 2e-2  # inputs are rounded as well
