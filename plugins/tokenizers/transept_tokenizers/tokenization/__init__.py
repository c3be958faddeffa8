"""Texts to ids and back: the tokenizer that backends extend. No backend is imported here."""

from .added_token import AddedToken
from .base import PreTrainedTokenizerBase
from .batch_encoding import BatchEncoding, CharSpan, TokenSpan
from .encoding import Encoding
from .lengths import Truncation

__all__ = [
    "AddedToken",
    "BatchEncoding",
    "CharSpan",
    "Encoding",
    "PreTrainedTokenizerBase",
    "TokenSpan",
    "Truncation",
]
