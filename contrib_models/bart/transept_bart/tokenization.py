"""BART's tokenizers: RoBERTa's byte-level BPE over `vocab.json` and `merges.txt`, `<s> … </s>` around a text."""

from __future__ import annotations

from transept_tokenizers.byte_level import FramedByteLevelTokenizer, FramedByteLevelTokenizerFast

__all__ = ["BartTokenizer", "BartTokenizerFast"]


class BartTokenizer(FramedByteLevelTokenizer):
    """BART's tokenizer in plain Python. Arguments are those of `FramedByteLevelTokenizer`."""


class BartTokenizerFast(FramedByteLevelTokenizerFast):
    """BART's tokenizer over the `tokenizers` library. Arguments are those of `FramedByteLevelTokenizerFast`."""
