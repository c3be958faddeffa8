"""Backends of the `tokenizers` library out of a vocabulary alone, for checkpoints without a `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from .unigram import META_SPACE

__all__ = ["byte_bpe_backend", "unigram_backend", "word_piece_backend"]


def word_piece_backend(
    vocab: Mapping[str, int],
    *,
    unk_token: str,
    do_lower_case: bool = True,
    tokenize_chinese_chars: bool = True,
    strip_accents: bool | None = None,
) -> Tokenizer:
    """BERT's: `BasicTokenizer` and `WordPiece` of this package."""
    backend = Tokenizer(models.WordPiece(dict(vocab), unk_token=unk_token))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=tokenize_chinese_chars, strip_accents=strip_accents, lowercase=do_lower_case
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def byte_bpe_backend(
    vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], *, add_prefix_space: bool = False
) -> Tokenizer:
    """GPT-2's: `byte_words` and `ByteBPE` of this package."""
    model = models.BPE(
        vocab=dict(vocab), merges=list(merges), continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False
    )
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    return backend


def unigram_backend(
    vocab: Sequence[tuple[str, float]],
    *,
    unk_id: int,
    byte_fallback: bool = False,
    charsmap: bytes = b"",
    prefix_every_text: bool = True,
) -> Tokenizer:
    """T5's: `Charsmap` and `Unigram` of this package.

    `prefix_every_text`: a text between added tokens gets a space before it; else only the text that all begins with.
    """
    backend = Tokenizer(models.Unigram(list(vocab), unk_id=unk_id, byte_fallback=byte_fallback))
    rules: list[normalizers.Normalizer] = [normalizers.Precompiled(charsmap)] if charsmap else []
    if prefix_every_text:
        spaces = pre_tokenizers.Metaspace(replacement=META_SPACE, prepend_scheme="always")
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])
        decoder = decoders.Metaspace(replacement=META_SPACE, prepend_scheme="always")
    else:
        rules += [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), META_SPACE)]
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=META_SPACE, prepend_scheme="first")
        decoder = decoders.Metaspace(replacement=META_SPACE, prepend_scheme="first")
    if rules:
        backend.normalizer = normalizers.Sequence(rules) if len(rules) > 1 else rules[0]
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoder]) if byte_fallback else decoder
    return backend
