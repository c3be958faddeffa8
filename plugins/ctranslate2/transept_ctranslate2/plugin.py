"""What transept-ctranslate2 offers: the `ctranslate2` checkpoint format."""

from collections.abc import Iterable

from transept_hookspecs import CheckpointFormatSpec, hookimpl


@hookimpl
def provide_checkpoints() -> Iterable[CheckpointFormatSpec]:
    return [
        CheckpointFormatSpec(
            key="ctranslate2",
            suffixes=("model.bin",),
            open="transept_ctranslate2.checkpoint:open_ctranslate2",
            read_config="transept_ctranslate2.configuration:read_config",
            key_map="transept_ctranslate2.names:key_map",
            priority=-10,
            description="CTranslate2's model.bin; integers are dequantized while loading",
        )
    ]
