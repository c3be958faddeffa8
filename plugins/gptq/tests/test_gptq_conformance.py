"""GPTQ passes what every quantizer has to pass; where others quantize on the way, layers are learned from random inputs."""

import pytest
import torch

pytest.importorskip("transept_testing")
from transept_gptq.calibration import calibrate
from transept_gptq.quantizer import GPTQ, gptq
from transept_testing import QuantizerConformance

from transept.quantization import quantization_from
from transept.rewrite import apply_live


class Learned(GPTQ):
    def convert(self, tensors, built):
        linear = torch.nn.Linear(built.in_features, built.out_features, bias=False)
        linear.weight = torch.nn.Parameter(tensors["weight"], requires_grad=False)
        calibration = calibrate(linear, self.config)
        calibration.add(torch.randn(64, built.in_features, generator=torch.Generator().manual_seed(0)))
        return calibration.finish()


class TestGPTQ(QuantizerConformance):
    key = "gptq"
    settings = {  # noqa: RUF012
        "4 bits": {"bits": 4, "group_size": 32},
        "4 bits ordered": {"bits": 4, "group_size": 16, "desc_act": True, "sym": False},
        "3 bits, new zeros": {"bits": 3, "group_size": 16, "format": "gptq_v2", "sym": False},
        "8 bits by row": {"bits": 8, "group_size": -1},
    }
    indivisible = {"groups of 24": {"bits": 4, "group_size": 24}}  # noqa: RUF012
    error = 0.5

    def quantize(self, kind, folder, quantization, **options):
        config = quantization_from(quantization)
        gptq(config, None)  # what it refuses
        model = kind.from_pretrained(folder, **options)
        apply_live(model, Learned(config))
        model.config.quantization_config = config
        return model
