"""What transept-gguf offers: the `gguf` checkpoint format, its blocks as a quantizer, and the tokenizer inside such a file."""

from collections.abc import Iterable

from transept_hookspecs import CheckpointFormatSpec, QuantizerSpec, TokenizerSpec, hookimpl


@hookimpl
def provide_checkpoints() -> Iterable[CheckpointFormatSpec]:
    return [
        CheckpointFormatSpec(
            key="gguf",
            suffixes=(".gguf",),
            open="transept_gguf.checkpoint:open_gguf",
            read_config="transept_gguf.configuration:read_config",
            key_map="transept_gguf.names:key_map",
            packed="transept_gguf.checkpoint:keep_blocks",
            write="transept_gguf.export:write_gguf",
            description="GGUF, one file or split; blocks stay packed unless a dtype is asked for",
        )
    ]


@hookimpl
def provide_quantizers() -> Iterable[QuantizerSpec]:
    return [
        QuantizerSpec(
            key="gguf",
            config="transept_gguf.quantization:GgufConfig",
            rewrite="transept_gguf.quantization:gguf_quantizer",
            presets={name.lower(): {"type": name} for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")},
            training=True,
            description="GGUF's blocks: those of a file, or made of floats as ggml's reference does",
        )
    ]


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(
            key="GGUFTokenizer",
            tokenizer="transept_gguf.tokenization:GGUFTokenizer",
            files=("*.gguf",),
            priority=-10,
            description="the vocabulary, merges and chat template that a GGUF file carries",
        )
    ]
