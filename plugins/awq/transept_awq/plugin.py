"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import QuantizerSpec, hookimpl


@hookimpl
def provide_quantizers() -> Iterable[QuantizerSpec]:
    return [
        QuantizerSpec(
            key="awq",
            config="transept_awq.config:AwqConfig",
            rewrite="transept_awq.quantizer:awq",
            training=True,
            description="4-bit weights of checkpoints that AWQ scaled and packed",
        )
    ]
