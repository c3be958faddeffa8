"""RoBERTa's tokenizers: GPT-2's byte-level BPE over `vocab.json` and `merges.txt`, `<s> … </s>` around a text
(https://arxiv.org/abs/1907.11692)."""

from __future__ import annotations

from transept_tokenizers.byte_level import FramedByteLevelTokenizer, FramedByteLevelTokenizerFast

__all__ = ["RobertaTokenizer", "RobertaTokenizerFast"]


class RobertaTokenizer(FramedByteLevelTokenizer):
    """RoBERTa's tokenizer in plain Python. Arguments are those of `FramedByteLevelTokenizer`."""


class RobertaTokenizerFast(FramedByteLevelTokenizerFast):
    """RoBERTa's tokenizer over the `tokenizers` library. Arguments are those of `FramedByteLevelTokenizerFast`."""
