"""Logits processors: what may come next, and how much it is liked, before a token is chosen.

A processor takes `input_ids`, LongTensor (batch, length), and `scores`, FloatTensor (batch, vocab), and returns new scores
of the same shape. It changes neither in place, and keeps no reference to `input_ids`, whose storage is written on.
Class names, arguments and results are those of Hugging Face Transformers.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import GenerationError
from .configuration import check_value, token_ids

__all__ = [
    "ClassifierFreeGuidanceLogitsProcessor",
    "EncoderNoRepeatNGramLogitsProcessor",
    "EncoderRepetitionPenaltyLogitsProcessor",
    "ExponentialDecayLengthPenalty",
    "ForcedBOSTokenLogitsProcessor",
    "ForcedEOSTokenLogitsProcessor",
    "InfNanRemoveLogitsProcessor",
    "LogitNormalization",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinLengthLogitsProcessor",
    "MinNewTokensLengthLogitsProcessor",
    "NoBadWordsLogitsProcessor",
    "NoRepeatNGramLogitsProcessor",
    "PrefixConstrainedLogitsProcessor",
    "RepetitionPenaltyLogitsProcessor",
    "SequenceBiasLogitsProcessor",
    "SuppressTokensAtBeginLogitsProcessor",
    "SuppressTokensLogitsProcessor",
    "UnbatchedClassifierFreeGuidanceLogitsProcessor",
]

FORBIDDEN = -math.inf


class LogitsProcessor:
    """Base of all processors."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        raise NotImplementedError(f"`{type(self).__name__}` has no `__call__`.")


class LogitsProcessorList(list[Any]):
    """Processors that are applied one after the other."""

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        for processor in self:
            if kwargs and len(inspect.signature(processor).parameters) > 2:
                scores = processor(input_ids, scores, **kwargs)
            else:
                scores = processor(input_ids, scores)
        return scores


class _Tokens:
    """A set of token ids as an index into the vocabulary; made once a device and vocabulary size."""

    def __init__(self, ids: Any, name: str) -> None:
        self.ids = token_ids(ids)
        if any(token < 0 for token in self.ids):
            raise GenerationError(f"`{name}` has to hold ids that are not negative, and is {self.ids}.")
        self.index: Tensor | None = None
        self.size = -1

    def within(self, scores: Tensor) -> Tensor:
        if self.index is None or self.index.device != scores.device or self.size != scores.shape[-1]:
            self.size = scores.shape[-1]
            self.index = torch.tensor([i for i in self.ids if i < self.size], dtype=torch.long, device=scores.device)
        return self.index

    def forbid(self, scores: Tensor) -> Tensor:
        return scores.index_fill(-1, self.within(scores), FORBIDDEN)

    def force(self, scores: Tensor) -> Tensor:
        return torch.full_like(scores, FORBIDDEN).index_fill(-1, self.within(scores), 0.0)


class MinLengthLogitsProcessor(LogitsProcessor):
    """No end of sequence before the whole sequence has `min_length` tokens."""

    def __init__(self, min_length: int, eos_token_id: Any, device: Any = None) -> None:
        check_value("min_length", min_length)
        self.min_length = min_length
        self.eos = _Tokens(eos_token_id, "eos_token_id")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.eos.forbid(scores) if input_ids.shape[-1] < self.min_length else scores


class MinNewTokensLengthLogitsProcessor(MinLengthLogitsProcessor):
    """No end of sequence before `min_new_tokens` tokens have been added to the prompt."""

    def __init__(self, prompt_length_to_skip: int, min_new_tokens: int, eos_token_id: Any, device: Any = None) -> None:
        check_value("min_new_tokens", min_new_tokens)
        super().__init__(prompt_length_to_skip + min_new_tokens, eos_token_id)


def _penalise(scores: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Scores of the given ids (batch, n) divided by the penalty where positive, multiplied where negative.

    An id past the vocabulary (an embedding may be larger than the head) touches nothing.
    """
    vocab = scores.shape[-1]
    spare = torch.nn.functional.pad(scores, (0, 1))
    ids = ids.clamp(max=vocab)
    found = spare.gather(1, ids)
    return spare.scatter(1, ids, torch.where(found < 0, found * penalty, found / penalty))[:, :vocab]


class RepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Makes tokens that stand in the sequence already less likely (CTRL, arXiv:1909.05858, section 4.1).

    Args:
        penalty: above 1 discourages, below 1 encourages repetition.
        prompt_ignore_length: how many tokens at the start do not count: one number, or LongTensor (batch,).
    """

    def __init__(self, penalty: float, prompt_ignore_length: int | Tensor | None = None) -> None:
        check_value("repetition_penalty", penalty)
        self.penalty = float(penalty)
        self.prompt_ignore_length = prompt_ignore_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ignore = self.prompt_ignore_length
        if isinstance(ignore, Tensor):
            if ignore.shape != input_ids.shape[:1]:
                raise GenerationError(f"`prompt_ignore_length` has the shape {tuple(ignore.shape)}; it takes one number a row.")
            columns = torch.arange(input_ids.shape[1], device=input_ids.device)
            input_ids = input_ids.masked_fill(columns < ignore.to(input_ids.device)[:, None], scores.shape[-1])
        elif ignore is not None:
            input_ids = input_ids[:, ignore:]
        return _penalise(scores, input_ids, self.penalty)


class EncoderRepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Makes tokens of the encoder's input (or the prompt) likelier, for a penalty above 1."""

    def __init__(self, penalty: float, encoder_input_ids: Tensor) -> None:
        check_value("encoder_repetition_penalty", penalty)
        self.penalty = 1 / penalty
        self.encoder_input_ids = encoder_input_ids

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ids = self.encoder_input_ids.to(scores.device)
        return _penalise(scores, ids.repeat_interleave(scores.shape[0] // ids.shape[0], dim=0), self.penalty)


def _check_size(ngram_size: int) -> None:
    if not isinstance(ngram_size, int) or ngram_size < 1:
        raise GenerationError(f"An n-gram has at least one token, and its size is {ngram_size!r}.")


def _forbid_ngrams(text: Tensor, recent: Tensor, size: int, scores: Tensor) -> Tensor:
    """Forbids what would repeat an n-gram of `text` (batch, any) after the end of `recent` (batch, length)."""
    length = recent.shape[1]
    if length < size - 1 or text.shape[1] < size:
        return scores
    vocab = scores.shape[-1]
    windows = text.unfold(1, size, 1)  # (batch, places, size)
    begun = (windows[..., :-1] == recent[:, None, length + 1 - size :]).all(-1)
    last = torch.where(begun, windows[..., -1].clamp(max=vocab), vocab)  # column `vocab` collects what is not meant
    banned = scores.new_zeros((scores.shape[0], vocab + 1), dtype=torch.bool).scatter_(1, last, True)
    return scores.masked_fill(banned[:, :vocab], FORBIDDEN)


class NoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No n-gram occurs twice (arXiv:1705.04304, section 2.5)."""

    def __init__(self, ngram_size: int) -> None:
        _check_size(ngram_size)
        self.ngram_size = ngram_size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return _forbid_ngrams(input_ids, input_ids, self.ngram_size, scores)


class EncoderNoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No n-gram of the encoder's input (or the prompt) is repeated."""

    def __init__(self, encoder_ngram_size: int, encoder_input_ids: Tensor) -> None:
        _check_size(encoder_ngram_size)
        self.ngram_size = encoder_ngram_size
        self.encoder_input_ids = encoder_input_ids if encoder_input_ids.dim() == 2 else encoder_input_ids[None]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        text = self.encoder_input_ids.to(input_ids.device)
        text = text.repeat_interleave(input_ids.shape[0] // text.shape[0], dim=0)
        return _forbid_ngrams(text, input_ids, self.ngram_size, scores)


class SequenceBiasLogitsProcessor(LogitsProcessor):
    """Adds a bias to the token that would complete a sequence.

    Args:
        sequence_bias: `{(5, 8): -2.0}`, or the same as lists for JSON: `[[[5, 8], -2.0]]`.
    """

    def __init__(self, sequence_bias: Any) -> None:
        pairs = sequence_bias.items() if isinstance(sequence_bias, Mapping) else sequence_bias
        try:
            self.sequence_bias = {tuple(_Tokens(ids, "sequence_bias").ids): float(bias) for ids, bias in pairs}
        except (TypeError, ValueError) as error:
            raise GenerationError(
                f"`sequence_bias` has to map tuples of token ids to numbers, and is {sequence_bias!r}."
            ) from error
        if () in self.sequence_bias or not self.sequence_bias:
            raise GenerationError("`sequence_bias` has to hold a sequence, and each sequence a token.")
        self.single = torch.empty(0)
        self.groups: list[tuple[Tensor, Tensor, Tensor]] = []

    def _prepare(self, scores: Tensor) -> None:
        vocab, device = scores.shape[-1], scores.device
        if outside := sorted({token for ids in self.sequence_bias for token in ids if token >= vocab}):
            raise GenerationError(f"Token ids {outside} are biased or forbidden, and the vocabulary has {vocab} tokens.")
        self.single = torch.zeros(vocab, device=device)
        by_length: dict[int, list[tuple[tuple[int, ...], float]]] = {}
        for ids, bias in self.sequence_bias.items():
            if len(ids) == 1:
                self.single[ids[0]] = bias
            else:
                by_length.setdefault(len(ids), []).append((ids, bias))
        self.groups = [
            (
                torch.tensor([ids[:-1] for ids, _ in group], device=device),  # (sequences, length - 1)
                torch.tensor([ids[-1] for ids, _ in group], device=device),
                torch.tensor([bias for _, bias in group], device=device),
            )
            for group in by_length.values()
        ]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.single.shape[0] != scores.shape[-1] or self.single.device != scores.device:
            self._prepare(scores)
        bias = self.single.to(scores.dtype).expand_as(scores)
        for starts, last, biases in self.groups:
            if starts.shape[1] <= input_ids.shape[1]:
                begun = (input_ids[:, None, -starts.shape[1] :] == starts).all(-1)  # (batch, sequences)
                bias = bias.index_add(1, last, torch.where(begun, biases, 0.0).to(scores.dtype))
        return scores + bias


class NoBadWordsLogitsProcessor(SequenceBiasLogitsProcessor):
    """Forbids sequences of tokens. An end-of-sequence token alone is never forbidden."""

    def __init__(self, bad_words_ids: list[list[int]], eos_token_id: Any = None) -> None:
        if not isinstance(bad_words_ids, Sequence) or not bad_words_ids:
            raise GenerationError(f"`bad_words_ids` has to be a list of lists of token ids, and is {bad_words_ids!r}.")
        kept = [word for word in bad_words_ids if list(word) not in [[eos] for eos in token_ids(eos_token_id)]]
        super().__init__({tuple(word): FORBIDDEN for word in kept or bad_words_ids})
        if not kept:
            self.sequence_bias = {}


class PrefixConstrainedLogitsProcessor(LogitsProcessor):
    """Allows only the tokens that a function names for the row's text so far (arXiv:2010.00904).

    Args:
        prefix_allowed_tokens_fn: `(batch_id, input_ids of one row) -> token ids`.
        num_beams: rows that belong to one batch entry.
    """

    def __init__(self, prefix_allowed_tokens_fn: Callable[[int, Tensor], Any], num_beams: int = 1) -> None:
        self.allowed = prefix_allowed_tokens_fn
        self.num_beams = num_beams

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        mask = torch.full_like(scores, FORBIDDEN)
        for row, ids in enumerate(input_ids):
            allowed = token_ids(self.allowed(row // self.num_beams, ids))
            if not allowed:
                raise GenerationError(
                    f"`prefix_allowed_tokens_fn` allows no token for batch entry {row // self.num_beams}. "
                    "Let it return at least one, for example the end-of-sequence token."
                )
            mask[row, allowed] = 0
        constrained = scores + mask
        # where every allowed token was forbidden by somebody else in all rows of an entry, the constraint wins
        stuck = constrained.amax(-1).isneginf().view(-1, self.num_beams).all(-1, keepdim=True)
        return torch.where(stuck.repeat_interleave(self.num_beams, dim=0), mask, constrained)


class ForcedBOSTokenLogitsProcessor(LogitsProcessor):
    """Forces the first token after a start of one token."""

    def __init__(self, bos_token_id: int) -> None:
        self.bos = _Tokens(bos_token_id, "bos_token_id")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.bos.force(scores) if input_ids.shape[-1] == 1 else scores


class ForcedEOSTokenLogitsProcessor(LogitsProcessor):
    """Forces the end of sequence when `max_length` is reached."""

    def __init__(self, max_length: int, eos_token_id: Any, device: Any = None) -> None:
        self.max_length = max_length
        self.eos = _Tokens(eos_token_id, "eos_token_id")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.eos.force(scores) if input_ids.shape[-1] == self.max_length - 1 else scores


class InfNanRemoveLogitsProcessor(LogitsProcessor):
    """Zero for NaN, the largest and smallest finite number for infinities."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return torch.nan_to_num(scores, nan=0.0)


class ExponentialDecayLengthPenalty(LogitsProcessor):
    """Raises the score of the end of sequence exponentially after a number of new tokens.

    Args:
        exponential_decay_length_penalty: (new tokens before it starts, factor).
        input_ids_seq_length: tokens of the prompt.
    """

    def __init__(
        self, exponential_decay_length_penalty: tuple[int, float], eos_token_id: Any, input_ids_seq_length: int
    ) -> None:
        self.start = exponential_decay_length_penalty[0] + input_ids_seq_length
        self.factor = exponential_decay_length_penalty[1]
        self.eos = _Tokens(eos_token_id, "eos_token_id")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        late = input_ids.shape[-1] - self.start
        if late <= 0:
            return scores
        index = self.eos.within(scores)
        now = scores[:, index]
        raised = now + now.abs() * (self.factor**late - 1)  # the absolute value: negative scores rise too
        return scores.index_copy(1, index, torch.where(now.isfinite(), raised, now))


class LogitNormalization(LogitsProcessor):
    """Log-probabilities."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.log_softmax(-1)


class SuppressTokensLogitsProcessor(LogitsProcessor):
    """Forbids tokens."""

    def __init__(self, suppress_tokens: Any, device: Any = None) -> None:
        self.tokens = _Tokens(suppress_tokens, "suppress_tokens")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.tokens.forbid(scores)


class SuppressTokensAtBeginLogitsProcessor(LogitsProcessor):
    """Forbids tokens at one place: as the first one after `begin_index` tokens."""

    def __init__(self, begin_suppress_tokens: Any, begin_index: int, device: Any = None) -> None:
        self.tokens = _Tokens(begin_suppress_tokens, "begin_suppress_tokens")
        self.begin_index = begin_index

    def set_begin_index(self, begin_index: int) -> None:
        self.begin_index = begin_index

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.tokens.forbid(scores) if input_ids.shape[-1] == self.begin_index else scores


class ClassifierFreeGuidanceLogitsProcessor(LogitsProcessor):
    """Classifier-free guidance (arXiv:2306.05284) for scores of which the second half of the batch is unconditional."""

    def __init__(self, guidance_scale: float) -> None:
        if guidance_scale <= 1:
            raise GenerationError(f"`guidance_scale` has to be above 1, and is {guidance_scale}.")
        self.guidance_scale = guidance_scale

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if scores.shape[0] != 2 * input_ids.shape[0]:
            raise GenerationError(
                f"Guidance needs scores of {2 * input_ids.shape[0]} rows, conditional ones first, for {input_ids.shape[0]} "
                f"rows of `input_ids`; there are {scores.shape[0]}."
            )
        conditional, unconditional = scores.chunk(2)
        return unconditional + (conditional - unconditional) * self.guidance_scale


class UnbatchedClassifierFreeGuidanceLogitsProcessor(LogitsProcessor):
    """Classifier-free guidance for language models (arXiv:2306.17806): a second run of the model without the prompt.

    Args:
        model: called as `model(input_ids, attention_mask=, use_cache=, past_key_values=)`.
        unconditional_ids: the negative prompt, LongTensor (batch, length); None: the prompt's last token.
    """

    def __init__(
        self,
        guidance_scale: float,
        model: Any,
        unconditional_ids: Tensor | None = None,
        unconditional_attention_mask: Tensor | None = None,
        use_cache: bool | None = True,
    ) -> None:
        self.guidance_scale = guidance_scale
        self.model = model
        self.ids = unconditional_ids
        self.mask = unconditional_attention_mask
        self.use_cache = bool(use_cache)
        self.cache: Any = None
        self.started = False

    def _unconditional(self, input_ids: Tensor) -> Tensor:
        latest = input_ids[:, -1:]
        if self.started and self.ids is not None and self.mask is not None:
            self.ids = torch.cat((self.ids, latest), 1)
            self.mask = torch.cat((self.mask, torch.ones_like(latest)), 1)
        self.ids = latest if self.ids is None else self.ids
        self.mask = torch.ones_like(self.ids) if self.mask is None else self.mask
        run = self.ids if self.cache is None else latest
        self.started = True
        outputs = self.model(run, attention_mask=self.mask, use_cache=self.use_cache, past_key_values=self.cache)
        self.cache = getattr(outputs, "past_key_values", None) if self.use_cache else None
        return outputs.logits[:, -1]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.log_softmax(-1)
        if self.guidance_scale == 1:
            return scores
        unconditional = self._unconditional(input_ids).log_softmax(-1)
        return self.guidance_scale * (scores - unconditional) + unconditional
