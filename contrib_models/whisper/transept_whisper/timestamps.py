"""Timestamps among the tokens (https://arxiv.org/abs/2212.04356, section 2.3): which may come when, and what they cut a text into."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transept.generation.processors import LogitsProcessor

__all__ = ["Segment", "WhisperTimeStampLogitsProcessor", "cut_at_timestamps"]

FORBIDDEN = -math.inf


class WhisperTimeStampLogitsProcessor(LogitsProcessor):
    """Timestamps come in pairs (the end of one segment, the start of the next), never go back, and open the text.

    Where all timestamps together are likelier than any word, a timestamp comes.

    Args:
        generate_config: with `no_timestamps_token_id`, after which timestamps begin, `eos_token_id` and, if the first one is to be
            early, `max_initial_timestamp_index`, in steps of 20 ms.
        begin_index: tokens in `input_ids` before the first that is generated.
    """

    def __init__(self, generate_config: Any, begin_index: int, _detect_timestamp_from_logprob: bool | None = None) -> None:
        self.no_timestamps_token_id = generate_config.no_timestamps_token_id
        self.timestamp_begin = self.no_timestamps_token_id + 1
        eos = generate_config.eos_token_id or generate_config.bos_token_id
        self.eos_token_id = eos[0] if isinstance(eos, list | tuple) else eos
        detect = getattr(generate_config, "_detect_timestamp_from_logprob", True)
        self.detect = detect if _detect_timestamp_from_logprob is None else _detect_timestamp_from_logprob
        self.max_initial_timestamp_index = getattr(generate_config, "max_initial_timestamp_index", None)
        self.begin_index = begin_index

    def set_begin_index(self, begin_index: int) -> None:
        self.begin_index = begin_index

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        begin, vocabulary = self.timestamp_begin, torch.arange(scores.shape[-1], device=scores.device)
        is_stamp, text = vocabulary >= begin, vocabulary < self.eos_token_id
        forbidden = (vocabulary == self.no_timestamps_token_id).expand_as(scores)
        ids = input_ids[:, self.begin_index :]
        if ids.shape[1] == 0:
            forbidden = forbidden | ~is_stamp
            if self.max_initial_timestamp_index is not None:
                forbidden = forbidden | (vocabulary > begin + self.max_initial_timestamp_index)
        else:
            stamps = ids >= begin
            last = stamps[:, -1:]
            pair = stamps[:, -2:-1] if ids.shape[1] > 1 else torch.ones_like(last)
            forbidden = forbidden | (last & pair & is_stamp) | (last & ~pair & text)
            places = torch.where(stamps, torch.arange(ids.shape[1], device=ids.device), -1).amax(1, keepdim=True)
            latest = ids.gather(1, places.clamp(min=0))
            least = torch.where(last & ~pair, latest, latest + 1)  # the start of a segment may be the end of the one before
            forbidden = forbidden | (is_stamp & (vocabulary < torch.where(places < 0, begin, least)))
        scores = scores.masked_fill(forbidden, FORBIDDEN)
        if not self.detect:
            return scores
        logprobs = scores.float().log_softmax(-1)
        stamped = logprobs[:, begin:].logsumexp(-1) > logprobs[:, :begin].amax(-1)
        return scores.masked_fill(stamped[:, None] & ~is_stamp, FORBIDDEN)


@dataclass
class Segment:
    """What was said between two timestamps.

    start, end: in seconds, from the start of the recording. tokens: LongTensor (length,), timestamps among them.
    """

    start: float
    end: float
    tokens: Tensor


def cut_at_timestamps(
    tokens: Tensor, timestamp_begin: int, offset: float, frames: int, precision: float
) -> tuple[list[Segment], int]:
    """The segments of a window, and how many frames of it they are about: the next window begins there.

    Args:
        tokens: what was generated, LongTensor (length,), without an end.
        offset: where the window begins, in seconds.
        frames: of sound in the window, two to a position.
        precision: seconds from timestamp to timestamp, which is a position.
    """
    ids = tokens.tolist()
    stamps = [token >= timestamp_begin for token in ids]
    ends = [place + 1 for place in range(len(ids) - 1) if stamps[place] and stamps[place + 1]]
    ends_alone = stamps[-2:] == [False, True]  # nothing is said after it
    if not ends:
        said = [token for token in ids if token >= timestamp_begin]
        length = said[-1] - timestamp_begin if said and said[-1] != timestamp_begin else frames // 2
        return [Segment(offset, offset + length * precision, tokens)], frames
    if ends_alone:
        ends.append(len(ids))
    else:
        ends[-1] += 1  # the start of what is cut off stays, to be known by
    segments, start = [], 0
    for end in ends:
        last = -2 if end == ends[-1] and not ends_alone else -1
        part = tokens[start:end]
        begins, finishes = int(part[0]) - timestamp_begin, int(part[last]) - timestamp_begin
        segments.append(Segment(offset + begins * precision, offset + finishes * precision, part))
        start = end
    return segments, frames if ends_alone else 2 * (ids[start - 2] - timestamp_begin)
