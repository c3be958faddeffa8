"""DistilBERT's tokenizers: BERT's WordPiece over `vocab.txt`, without types of tokens (https://arxiv.org/abs/1910.01108)."""

from __future__ import annotations

from transept_tokenizers.word_piece_tokenizers import WordPieceTokenizer, WordPieceTokenizerFast

__all__ = ["DistilBertTokenizer", "DistilBertTokenizerFast"]

_INPUTS = ["input_ids", "attention_mask"]


class DistilBertTokenizer(WordPieceTokenizer):
    """DistilBERT's tokenizer in plain Python. Arguments are those of `WordPieceTokenizer`."""

    model_input_names = _INPUTS


class DistilBertTokenizerFast(WordPieceTokenizerFast):
    """DistilBERT's tokenizer over the `tokenizers` library. Arguments are those of `WordPieceTokenizerFast`."""

    model_input_names = _INPUTS
