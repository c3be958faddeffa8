"""BERT's tokenizers: WordPiece over `vocab.txt` (https://arxiv.org/abs/1810.04805)."""

from __future__ import annotations

from transept_tokenizers.word_piece_tokenizers import WordPieceTokenizer, WordPieceTokenizerFast

__all__ = ["BertTokenizer", "BertTokenizerFast"]


class BertTokenizer(WordPieceTokenizer):
    """BERT's tokenizer in plain Python. Arguments are those of `WordPieceTokenizer`."""


class BertTokenizerFast(WordPieceTokenizerFast):
    """BERT's tokenizer over the `tokenizers` library. Arguments are those of `WordPieceTokenizerFast`."""
