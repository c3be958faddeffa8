"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import QuantizerSpec, hookimpl


@hookimpl
def provide_quantizers() -> Iterable[QuantizerSpec]:
    return [
        QuantizerSpec(
            key="gptq",
            config="transept_gptq.config:GPTQConfig",
            rewrite="transept_gptq.quantizer:gptq",
            presets={"gptq-4bit": {"bits": 4, "group_size": 128}, "gptq-8bit": {"bits": 8, "group_size": 128}},
            calibrate="transept_gptq.calibration:calibrate",
            training=True,
            description="2, 3, 4 or 8 bits a weight, found with data: each column's rounding is made up for by those after it",
        )
    ]
