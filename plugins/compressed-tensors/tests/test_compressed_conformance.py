"""compressed-tensors' layouts pass what every quantizer has to pass; weights are rounded to nearest here."""

import pytest
import torch

pytest.importorskip("transept_testing")
from transept_compressed_tensors.quantizer import CompressedTensors, compressed_tensors
from transept_testing import QuantizerConformance
from transept_testing.quantizers.suite import ARCHITECTURES

from transept.quantization import pack_bits, quantization_from
from transept.rewrite import apply_live


class Rounded(CompressedTensors):
    def convert(self, tensors, built):
        weight, scheme = tensors["weight"].float(), built.scheme
        groups = weight.unflatten(1, (-1, scheme.group_size or weight.shape[1]))
        if scheme.kind == "float":
            scale = groups.abs().amax((1, 2) if scheme.strategy != "tensor" else None).view(built.weight_scale.shape) / 448
            return {"weight": (weight / scale).to(torch.float8_e4m3fn).view(torch.uint8), "weight_scale": scale}
        low, high = -(1 << scheme.bits - 1), (1 << scheme.bits - 1) - 1
        held = {}
        if scheme.symmetric:
            scale, zero = groups.abs().amax(-1) / high, torch.zeros(groups.shape[:2])
        else:
            scale = (groups.amax(-1).clamp(min=0) - groups.amin(-1).clamp(max=0)) / (high - low)
            zero = (low - groups.amin(-1).clamp(max=0) / scale).round().clamp(low, high)
            held["weight_zero_point"] = pack_bits(zero.int() - low, scheme.bits, 0) if scheme.packed else zero.char()
        integers = ((groups / scale[..., None]).round() + zero[..., None]).clamp(low, high).flatten(1).int()
        packed = {"weight_packed": pack_bits(integers - low, scheme.bits)} if scheme.packed else {"weight": integers.char()}
        return {**packed, "weight_scale": scale, **held}


def one(layout, inputs=None, **weights):
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs, "format": layout}
    return {"config_groups": {"group_0": group}, "format": layout}


class _Rounding:
    key = "compressed-tensors"
    skip_field = "modules_to_not_convert"
    without_data = False

    def quantize(self, kind, folder, quantization, **options):
        config = quantization_from(quantization)
        model = kind.from_pretrained(folder, **options)
        rewrite = Rounded(config)
        compressed_tensors(config, None)  # what it refuses
        apply_live(model, rewrite)
        model.config.quantization_config = config
        return model


class TestPacked(_Rounding, QuantizerConformance):
    settings = {  # noqa: RUF012
        "int4 groups": one("pack-quantized", num_bits=4, type="int", strategy="group", group_size=16),
        "int4 zeros": one("pack-quantized", num_bits=4, type="int", strategy="group", group_size=32, symmetric=False),
        "int3 rows": one("pack-quantized", num_bits=3, type="int", strategy="channel"),
    }
    indivisible = {"groups of 24": one("pack-quantized", num_bits=4, type="int", strategy="group", group_size=24)}  # noqa: RUF012
    error = 0.8


class TestWhole(_Rounding, QuantizerConformance):
    architectures = {name: ARCHITECTURES[name] for name in ("llama", "gpt2")}  # noqa: RUF012
    settings = {  # noqa: RUF012
        "int8": one("int-quantized", num_bits=8, type="int", strategy="channel"),
        "float8": one("naive-quantized", num_bits=8, type="float", strategy="tensor"),
    }


class TestRoundedInputs(_Rounding, QuantizerConformance):
    architectures = {"llama": ARCHITECTURES["llama"]}  # noqa: RUF012
    settings = {  # noqa: RUF012
        "int8 on int8": one(
            "int-quantized",
            {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
            num_bits=8,
            type="int",
            strategy="channel",
        ),
        "float8 on float8": one(
            "float-quantized",
            {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
            num_bits=8,
            type="float",
            strategy="channel",
        ),
    }
    dequantized_error = 0.1  # inputs are rounded as well
