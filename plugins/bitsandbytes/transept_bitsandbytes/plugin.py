"""What transept-bitsandbytes offers: the quantizer `bitsandbytes`."""

from collections.abc import Iterable

from transept_hookspecs import QuantizerSpec, hookimpl


@hookimpl
def provide_quantizers() -> Iterable[QuantizerSpec]:
    return [
        QuantizerSpec(
            key="bitsandbytes",
            config="transept_bitsandbytes.configuration:BitsAndBytesConfig",
            rewrite="transept_bitsandbytes.quantizers:bitsandbytes",
            presets={
                "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
                "fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
                "llm.int8": {"load_in_8bit": True},
            },
            training=True,
            description="bitsandbytes: 4 bits (nf4, fp4) and LLM.int8",
        )
    ]
