"""What this dist offers."""

from collections.abc import Iterable

from transept_hookspecs import QuantizerSpec, hookimpl


@hookimpl
def provide_quantizers() -> Iterable[QuantizerSpec]:
    return [
        QuantizerSpec(
            key="compressed-tensors",
            config="transept_compressed_tensors.config:CompressedTensorsConfig",
            rewrite="transept_compressed_tensors.quantizer:compressed_tensors",
            training=True,
            description="integers of 1 to 8 bits and 8-bit floats, as llm-compressor writes them",
        )
    ]
