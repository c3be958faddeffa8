"""Whisper's processor: its feature extractor and its tokenizer as one."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from transept_processors import ProcessorMixin

from transept.errors import InputError

from .feature_extraction import WhisperFeatureExtractor

__all__ = ["WhisperProcessor"]

_OF_BOTH = frozenset({"padding", "truncation", "max_length", "pad_to_multiple_of", "return_tensors", "return_attention_mask"})
_OF_AUDIO = frozenset(inspect.signature(WhisperFeatureExtractor.__call__).parameters)


class WhisperProcessor(ProcessorMixin):
    """Joins a `WhisperFeatureExtractor` and a `WhisperTokenizer`."""

    parts: ClassVar[dict[str, tuple[str, ...]]] = {
        "feature_extractor": ("WhisperFeatureExtractor",),
        "tokenizer": ("WhisperTokenizerFast", "WhisperTokenizer"),
    }
    feature_extractor: WhisperFeatureExtractor
    tokenizer: Any

    def __call__(self, audio: Any = None, text: Any = None, sampling_rate: int | None = None, **options: Any) -> Any:
        """The features of audio, the token ids of text, or both: features, and the ids as `labels`.

        With both, options that only one part has go to that one; those of both, such as `return_tensors`, go to both.

        Raises:
            InputError: neither is given; and what the parts raise.
        """
        if audio is None and text is None:
            raise InputError("Give `audio`, `text` or both.")
        if audio is None:
            return self.tokenizer(text, **options)
        if text is None:
            return self.feature_extractor(audio, sampling_rate=sampling_rate, **options)
        of_audio = {name: value for name, value in options.items() if name in _OF_AUDIO}
        of_text = {name: value for name, value in options.items() if name not in _OF_AUDIO or name in _OF_BOTH}
        features = self.feature_extractor(audio, sampling_rate=sampling_rate, **of_audio)
        features["labels"] = self.tokenizer(text, **of_text)["input_ids"]
        return features

    def get_decoder_prompt_ids(
        self, task: str | None = None, language: str | None = None, no_timestamps: bool = True
    ) -> list[tuple[int, int]]:
        """As the tokenizer's."""
        found: list[tuple[int, int]] = self.tokenizer.get_decoder_prompt_ids(task, language, no_timestamps)
        return found

    def get_prompt_ids(self, text: str, return_tensors: str | None = "pt") -> Any:
        """As the tokenizer's."""
        return self.tokenizer.get_prompt_ids(text, return_tensors=return_tensors)
