"""Data collators for transept: from tokenized examples to padded batches with labels."""

from .examples import DataCollator
from .language_modeling import DataCollatorForLanguageModeling, DataCollatorForWholeWordMask
from .packing import DataCollatorWithFlattening
from .padding import (
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
)
from .stacking import DefaultDataCollator, default_data_collator

__version__ = "0.1.0"

__all__ = [
    "DataCollator",
    "DataCollatorForLanguageModeling",
    "DataCollatorForMultipleChoice",
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorForWholeWordMask",
    "DataCollatorWithFlattening",
    "DataCollatorWithPadding",
    "DefaultDataCollator",
    "default_data_collator",
]
