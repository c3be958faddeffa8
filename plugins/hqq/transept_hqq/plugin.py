"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import QuantizerSpec, hookimpl


@hookimpl
def provide_quantizers() -> Iterable[QuantizerSpec]:
    return [
        QuantizerSpec(
            key="hqq",
            config="transept_hqq.config:HqqConfig",
            rewrite="transept_hqq.quantizer:hqq",
            presets={
                f"hqq-{bits}bit": {"nbits": bits, "group_size": size}
                for bits, size in ((8, 128), (4, 64), (3, 64), (2, 16), (1, 8))
            },
            training=True,
            description="1 to 8 bits a weight without data: zeros found by half-quadratic splitting",
        )
    ]
