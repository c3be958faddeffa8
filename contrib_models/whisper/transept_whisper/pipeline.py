"""`automatic-speech-recognition`: the text of a recording."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transept_pipelines import ChunkPipeline
from transept_pipelines.inputs import Inputs, sort_inputs

from transept.errors import InputError, shorten

from .audio import mono, read_wav, resample

__all__ = ["AutomaticSpeechRecognitionPipeline"]

_TAKEN = frozenset({"raw", "array", "sampling_rate", "path"})


@dataclass(frozen=True)
class _Said:
    """A token, and the segment that it was said in, in seconds."""

    token: int
    start: float
    end: float

    def is_heard_again(self, other: _Said) -> bool:
        """Whether another piece has the same token at, as far as is known, the same time: people repeat themselves."""
        return self.token == other.token and self.start < other.end and other.start < self.end


class AutomaticSpeechRecognitionPipeline(ChunkPipeline):
    """Transcribe recordings.

    One is a WAV file (its path or bytes), an array or tensor (samples,) of floats at the model's rate, or a dict of `raw` or `array`
    and `sampling_rate`, as data sets have. Channels, (channels, samples), are averaged; other rates are resampled.

    - `return_timestamps`: add `chunks`, dicts of `text` and `timestamp` (start, end) in seconds.
    - `chunk_length_s`, `stride_length_s`: cut long recordings into pieces of so many seconds, which overlap by the stride on either
      side (one number or two; a sixth of the piece where it is left out), and transcribe these in batches. Without it a long
      recording is heard window after window, each beginning where the last sentence of the one before ended: slower, and surer.
    - `max_new_tokens`, `generate_kwargs`: for `generate`: `{"language": "french", "task": "translate"}`.

    Returns:
        A dict `{"text": …}` for each recording.
    """

    components: ClassVar[tuple[str, ...]] = ("tokenizer", "feature_extractor")
    represents_head: ClassVar[bool] = True

    def sort_inputs(self, inputs: Any) -> Inputs:
        return sort_inputs(inputs, lambda given: isinstance(given, Path) or getattr(given, "ndim", 0) in (1, 2))

    def preprocess(
        self, item: Any, *, chunk_length_s: float | None = None, stride_length_s: Any = None
    ) -> Iterator[dict[str, Any]]:
        rate = self.feature_extractor.sampling_rate
        samples = self._waveform(item)
        longest = self.feature_extractor.n_samples
        if not chunk_length_s:
            if stride_length_s is not None:
                raise InputError("`stride_length_s` has no effect without `chunk_length_s`.")
            is_long = len(samples) > longest
            options = {"truncation": False, "padding": "longest"} if is_long else {}
            yield {"features": self._features(samples, **options), "offset": 0.0, "overlap": 0.0}
            return
        left, right = self._strides(chunk_length_s, stride_length_s)
        length = round(chunk_length_s * rate)
        if not left + right < length <= longest:
            raise InputError(
                f"`chunk_length_s` is {chunk_length_s}, at most {longest / rate:g} and more than its strides, {left / rate:g} and {right / rate:g}."
            )
        for start in range(0, len(samples), length - left - right):
            piece = self._features(samples[start : start + length])
            yield {"features": piece, "offset": start / rate, "overlap": (left + right) / length}
            if start + length >= len(samples):
                break

    def _strides(self, chunk_length_s: float, stride_length_s: Any) -> tuple[int, int]:
        given = chunk_length_s / 6 if stride_length_s is None else stride_length_s
        both = list(given) if isinstance(given, list | tuple) else [given, given]
        if len(both) != 2 or any(isinstance(each, bool) or not isinstance(each, int | float) or each < 0 for each in both):
            raise InputError(f"`stride_length_s` is one number of seconds or two, from 0 up, not {stride_length_s!r}.")
        left, right = (round(each * self.feature_extractor.sampling_rate) for each in both)
        return left, right

    def _features(self, samples: Tensor, **options: Any) -> tuple[Tensor]:
        rate = self.feature_extractor.sampling_rate
        found = self.feature_extractor(samples, sampling_rate=rate, return_tensors="pt", **options)
        return (found["input_features"],)  # in a tuple: recordings of different lengths stand in one batch

    def _waveform(self, item: Any) -> Tensor:
        wanted = self.feature_extractor.sampling_rate
        if isinstance(item, str | os.PathLike | bytes):
            samples, rate = read_wav(item)
        elif isinstance(item, Mapping):
            samples, rate = self._from_mapping(item), item["sampling_rate"]
        else:
            samples, rate = mono(item), wanted
        (checked,) = self.feature_extractor.waveforms(samples, None)
        return resample(checked, int(rate) if hasattr(rate, "__index__") and not isinstance(rate, bool) else rate, wanted)

    def _from_mapping(self, item: Mapping[str, Any]) -> Tensor:
        sound = [name for name in ("raw", "array") if item.get(name) is not None]
        if len(sound) != 1 or "sampling_rate" not in item or not item.keys() <= _TAKEN:
            raise InputError(
                f"A recording as a dict has `array` (or `raw`) and `sampling_rate`, and this one has {shorten(item) or 'no keys'}. Of a "
                'data set\'s rows take the column: `from transept_pipelines import KeyDataset; pipe(KeyDataset(rows, "audio"))`.'
            )
        return mono(item[sound[0]])

    def _forward(
        self,
        inputs: dict[str, Any],
        *,
        return_timestamps: bool = False,
        max_new_tokens: int | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        if not isinstance(return_timestamps, bool):
            raise InputError(
                f"`return_timestamps` is True or False, not {return_timestamps!r}: times of single words are not given."
            )
        options = {"return_timestamps": return_timestamps or None, "max_new_tokens": max_new_tokens, **(generate_kwargs or {})}
        options = {name: value for name, value in options.items() if value is not None}
        many = inputs["features"]
        pieces = [each for (each,) in (many if isinstance(many, list) else [many])]
        equal = all(each.shape[-1] == self.feature_extractor.nb_max_frames for each in pieces)
        found: list[Any] = []
        for batch in [torch.cat(pieces)] if equal else pieces:
            found += self.model.generate(batch, return_segments=True, **options)["segments"]
        heard = [[(one["start"], one["end"], one["tokens"].tolist()) for one in each] for each in found]
        one = not isinstance(many, list)
        return {**inputs, "features": None, "segments": heard[0] if one else heard}

    def postprocess(self, outputs: list[dict[str, Any]], *, return_timestamps: bool = False) -> dict[str, Any]:
        said: list[_Said] = []
        before = 0
        for output in outputs:
            heard = self._words(output)
            # twice as much as overlaps on average: people do not speak evenly
            most = math.ceil(2 * output["overlap"] * max(before, len(heard))) + 4
            said, before = joined(said, heard, most), len(heard)
        result: dict[str, Any] = {"text": self._text(said)}
        if return_timestamps:
            result["chunks"] = self._chunks(said)
        return result

    def _words(self, output: dict[str, Any]) -> list[_Said]:
        """The tokens of a piece that are words."""
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        begin, offset = getattr(self.tokenizer, "timestamp_begin", None), output["offset"]
        return [
            _Said(token, start + offset, end + offset)
            for start, end, tokens in output["segments"]
            for token in tokens
            if token not in special and (begin is None or token < begin)
        ]

    def _text(self, said: list[_Said]) -> str:
        text: str = self.tokenizer.decode([each.token for each in said], skip_special_tokens=True)
        return text

    def _chunks(self, said: list[_Said]) -> list[dict[str, Any]]:
        groups: list[list[_Said]] = []
        for each in said:
            if groups and (groups[-1][-1].start, groups[-1][-1].end) == (each.start, each.end):
                groups[-1].append(each)
            else:
                groups.append([each])
        found, latest = [], 0.0
        for group in groups:
            # where pieces are joined, the end of one and the start of the next were heard twice
            latest, start = max(latest, group[0].end), min(max(group[0].start, latest), group[0].end)
            found.append({"text": self._text(group), "timestamp": (round(start, 2), round(max(start, group[0].end), 2))})
        return found


def joined(left: list[_Said], right: list[_Said], most: int) -> list[_Said]:
    """What two overlapping pieces say: of their last and first tokens, at most so many, those overlap that agree best, and the
    overlap is cut in its middle. Nothing does where fewer than two tokens are the same.
    """
    best, overlap = 0.0, 0
    for length in range(1, min(len(left), len(right), most) + 1):
        pairs = zip(left[-length:], right[:length], strict=True)
        same = sum(one.is_heard_again(other) for one, other in pairs)
        score = same / length + length / 10000  # of equally good ones the longest
        if same > 1 and score > best:
            best, overlap = score, length
    middle = overlap // 2
    return [*left[: len(left) - overlap + middle], *right[middle:]]
