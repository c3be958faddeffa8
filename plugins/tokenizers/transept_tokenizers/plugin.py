"""What this dist offers: tokenizers by the class names that checkpoints use for `tokenizer.json`."""

from collections.abc import Iterable

from transept_hookspecs import TokenizerSpec, hookimpl


@hookimpl
def provide_tokenizers() -> Iterable[TokenizerSpec]:
    return [
        TokenizerSpec(
            key=key,
            tokenizer="transept_tokenizers.fast:PreTrainedTokenizerFast",
            files=("tokenizer.json",),
            priority=100,
            description="tokenizer.json, through the `tokenizers` library",
        )
        for key in ("PreTrainedTokenizerFast", "TokenizersBackend", "LlamaTokenizerFast", "LlamaTokenizer")
    ]
