"""A small quantizer that keeps every promise, and siblings that break one each. A fixture installs it as a dist of its own."""

import torch
from transept_testing.quantizers.stand_in import RowsLinear

from transept.errors import QuantizationError
from transept.quantization import QuantizationConfig, Quantizer
from transept_hookspecs import QuantizerSpec, hookimpl


class ToyConfig(QuantizationConfig):
    quant_method: str = "toy-groups"
    group_size: int = 32


class GroupsLinear(RowsLinear):
    """One scale for each group of columns."""

    packing = "groups"

    def __init__(self, in_features, out_features, bias, group_size):
        super().__init__(in_features, out_features, bias)
        self.group_size = group_size
        self.register_buffer("scale", torch.empty(out_features, in_features // group_size))

    def unpack(self, rows):
        return self.weight[rows].float() * self.scale[rows].repeat_interleave(self.group_size, -1)


class ToyQuantizer(Quantizer):
    key = "toy-groups"

    def build(self, module, path):
        if module.in_features % self.config.group_size:
            raise QuantizationError(f"`{path}` is {module.in_features} wide, no multiple of {self.config.group_size}.")
        return GroupsLinear(module.in_features, module.out_features, module.bias, self.config.group_size)

    def convert(self, tensors, built):
        weight = tensors["weight"].float()
        groups = weight.view(weight.shape[0], -1, self.config.group_size)
        scale = groups.abs().amax(-1).clamp(min=1e-12) / 127
        return {"weight": (groups / scale[..., None]).round().to(torch.int8).view_as(weight), "scale": scale}

    def revert(self, tensors, built):
        return {"weight": tensors["weight"].float() * tensors["scale"].repeat_interleave(self.config.group_size, -1)}


def make(config, model_config):
    return ToyQuantizer(config)


@hookimpl
def provide_quantizers():
    yield QuantizerSpec(
        key="toy-groups",
        config="toy_quantizer:ToyConfig",
        rewrite="toy_quantizer:make",
        presets={"toy-16": {"group_size": 16}},
        training=True,
    )
