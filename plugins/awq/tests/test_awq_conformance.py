"""AWQ's layouts pass what every quantizer has to pass; what AWQ would have scaled is rounded to nearest here."""

import pytest
import torch

pytest.importorskip("transept_testing")
from transept_awq.linear import AWQGemmLinear
from transept_awq.quantizer import AWQ
from transept_testing import QuantizerConformance

from transept.quantization import pack_bits, quantization_from
from transept.rewrite import apply_live


class Rounded(AWQ):
    def fits(self, module):
        return super().fits(module) and module.out_features % 8 == 0

    def convert(self, tensors, built):
        weight = tensors["weight"].float()
        groups = weight.unflatten(1, (-1, built.group_size))
        low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
        scales = ((high - low) / 15).half()
        zeros = (-low / scales.float()).round().clamp(0, 15)
        integers = ((groups / scales.float()[..., None]).round() + zeros[..., None]).clamp(0, 15).flatten(1)
        if not isinstance(built, AWQGemmLinear):
            held = {"qweight": pack_bits(integers, 4), "qzeros": built.qzeros, "scales": built.scales}
            width = built.scales.shape[1]
            held["qzeros"] = pack_bits(torch.nn.functional.pad(zeros, (0, width - zeros.shape[1])), 4)
            held["scales"] = torch.nn.functional.pad(scales, (0, width - scales.shape[1]))
            return held

        def in_order(values):
            mixed = values.T.unflatten(1, (-1, 8))[..., [0, 2, 4, 6, 1, 3, 5, 7]]
            return pack_bits(mixed.flatten(1), 4)

        return {"qweight": in_order(integers), "qzeros": in_order(zeros), "scales": scales.T.contiguous()}


class TestAWQ(QuantizerConformance):
    key = "awq"
    settings = {  # noqa: RUF012
        "gemm": {"group_size": 32},
        "gemv": {"group_size": 32, "format": "gemv"},
        "gemm by row": {"group_size": -1},
    }
    indivisible = {"groups of 24": {"group_size": 24}}  # noqa: RUF012
    error = 0.5
    bits = 14.0  # groups of 32 leave half of the words of zeros empty in layers this narrow
    without_data = False

    def quantize(self, kind, folder, quantization, **options):
        config = quantization_from(quantization)
        model = kind.from_pretrained(folder, **options)
        apply_live(model, Rounded(config))
        model.config.quantization_config = config
        return model
