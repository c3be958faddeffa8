"""What transept-gguf offers: the `gguf` checkpoint format, and the tokenizer inside such a file."""

from collections.abc import Iterable

from transept_hookspecs import CheckpointFormatSpec, TokenizerSpec, hookimpl


@hookimpl
def provide_checkpoints() -> Iterable[CheckpointFormatSpec]:
    return [
        CheckpointFormatSpec(
            key="gguf",
            suffixes=(".gguf",),
            open="transept_gguf.checkpoint:open_gguf",
            read_config="transept_gguf.configuration:read_config",
            key_map="transept_gguf.names:key_map",
            description="GGUF, one file or split; blocks are dequantized while loading",
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
