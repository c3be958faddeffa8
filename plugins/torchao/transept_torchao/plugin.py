"""What transept-torchao offers: the quantizer `torchao`."""

from collections.abc import Iterable

from transept_hookspecs import QuantizerSpec, hookimpl

_NAMES = (
    "int8_weight_only",
    "int8_dynamic_activation_int8_weight",
    "intx_weight_only",
    "int4_weight_only",
    "float8_weight_only",
    "float8_dynamic_activation_float8_weight",
)


@hookimpl
def provide_quantizers() -> Iterable[QuantizerSpec]:
    return [
        QuantizerSpec(
            key="torchao",
            config="transept_torchao.configuration:TorchAoConfig",
            rewrite="transept_torchao.quantizer:torchao",
            presets={name: {"quant_type": name} for name in _NAMES},
            training=True,
            description="torchao: 8 and 4 bits, float8; weights alone, or inputs too",
        )
    ]
