"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import QuantizerSpec, hookimpl


@hookimpl
def provide_quantizers() -> Iterable[QuantizerSpec]:
    return [
        QuantizerSpec(
            key="int8",
            config="transept_int8.config:Int8Config",
            rewrite="transept_int8.quantizer:int8",
            presets={
                "int8-g32": {"group_size": 32},
                "int8-g64": {"group_size": 64},
                "int8-g128": {"group_size": 128},
                "int8-row": {"group_size": -1},
            },
            training=True,
            description="8-bit weights, symmetric, with a scale for each group of a row",
        )
    ]
