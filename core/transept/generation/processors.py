"""Logits processors: what may come next, and how much it is liked, before a token is chosen.

A processor takes `input_ids`, LongTensor (batch, length), and `scores`, FloatTensor (batch, vocab), and returns new scores
of the same shape. It changes neither in place, and keeps no reference to `input_ids`, whose storage is written on.
Warpers, further below, shape the distribution that sampling draws from.
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
from .session import GenerationSession
from .stopping import with_custom

__all__ = [
    "ClassifierFreeGuidanceLogitsProcessor", "EncoderNoRepeatNGramLogitsProcessor", "EncoderRepetitionPenaltyLogitsProcessor",
    "EpsilonLogitsWarper", "EtaLogitsWarper", "ExponentialDecayLengthPenalty", "ForcedBOSTokenLogitsProcessor",
    "ForcedEOSTokenLogitsProcessor", "InfNanRemoveLogitsProcessor", "LogitNormalization", "LogitsProcessor",
    "LogitsProcessorList", "MinLengthLogitsProcessor", "MinNewTokensLengthLogitsProcessor", "MinPLogitsWarper",
    "NoBadWordsLogitsProcessor", "NoRepeatNGramLogitsProcessor", "PrefixConstrainedLogitsProcessor",
    "RepetitionPenaltyLogitsProcessor", "SequenceBiasLogitsProcessor", "SuppressTokensAtBeginLogitsProcessor",
    "SuppressTokensLogitsProcessor", "TemperatureLogitsWarper", "TopHLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper",
    "TypicalLogitsWarper", "UnbatchedClassifierFreeGuidanceLogitsProcessor",
]  # fmt: skip

FORBIDDEN = -math.inf


class LogitsProcessor:
    """Base of all processors."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        raise NotImplementedError(f"`{type(self).__name__}` has no `__call__`.")


class LogitsProcessorList(list[Any]):
    """Processors that are applied one after the other."""

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        for processor in self:
            more = kwargs if kwargs and len(inspect.signature(processor).parameters) > 2 else {}
            scores = processor(input_ids, scores, **more)
        return scores


class _Tokens:
    """A set of token ids as an index into the vocabulary."""

    def __init__(self, ids: Any, name: str) -> None:
        self.ids = token_ids(ids)
        if not self.ids or min(self.ids) < 0:
            raise GenerationError(f"`{name}` has to hold ids that are not negative, at least one, and is {self.ids}.")
        self.index, self.size = torch.empty(0), -1

    def within(self, scores: Tensor) -> Tensor:
        if self.size != scores.shape[-1] or self.index.device != scores.device:
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
        self.min_length, self.eos = min_length, _Tokens(eos_token_id, "eos_token_id")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.eos.forbid(scores) if input_ids.shape[-1] < self.min_length else scores


class MinNewTokensLengthLogitsProcessor(MinLengthLogitsProcessor):
    """No end of sequence before `min_new_tokens` tokens have been added to the prompt."""

    def __init__(self, prompt_length_to_skip: int, min_new_tokens: int, eos_token_id: Any, device: Any = None) -> None:
        check_value("min_new_tokens", min_new_tokens)
        super().__init__(prompt_length_to_skip + min_new_tokens, eos_token_id)


def _admitted(name: str, value: Any, admitted: bool, what: str) -> Any:
    if not admitted:
        raise GenerationError(f"`{name}` has to be {what}, and is {value!r}.")
    return value


def _positive(name: str, value: int) -> int:
    return int(_admitted(name, value, isinstance(value, int) and value > 0, "a positive integer"))


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

    A `penalty` below 1 encourages repetition. `prompt_ignore_length` tokens at the start do not count: one number, or
    LongTensor (batch,).
    """

    def __init__(self, penalty: float, prompt_ignore_length: int | Tensor | None = None) -> None:
        check_value("repetition_penalty", penalty)
        self.penalty, self.prompt_ignore_length = float(penalty), prompt_ignore_length

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
        self.penalty, self.encoder_input_ids = 1 / penalty, encoder_input_ids

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ids = self.encoder_input_ids.to(scores.device)
        return _penalise(scores, ids.repeat_interleave(scores.shape[0] // ids.shape[0], dim=0), self.penalty)


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
        self.ngram_size = _positive("ngram_size", ngram_size)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return _forbid_ngrams(input_ids, input_ids, self.ngram_size, scores)


class EncoderNoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No n-gram of the encoder's input (or the prompt) is repeated."""

    def __init__(self, encoder_ngram_size: int, encoder_input_ids: Tensor) -> None:
        self.ngram_size = _positive("encoder_ngram_size", encoder_ngram_size)
        self.encoder_input_ids = encoder_input_ids if encoder_input_ids.dim() == 2 else encoder_input_ids[None]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        text = self.encoder_input_ids.to(input_ids.device)
        text = text.repeat_interleave(input_ids.shape[0] // text.shape[0], dim=0)
        return _forbid_ngrams(text, input_ids, self.ngram_size, scores)


class SequenceBiasLogitsProcessor(LogitsProcessor):
    """Adds a bias to the token that would complete a sequence: `{(5, 8): -2.0}`, or as JSON has it, `[[[5, 8], -2.0]]`."""

    def __init__(self, sequence_bias: Any) -> None:
        pairs = sequence_bias.items() if isinstance(sequence_bias, Mapping) else sequence_bias
        try:
            self.sequence_bias = {tuple(_Tokens(ids, "sequence_bias").ids): float(bias) for ids, bias in pairs}
        except (TypeError, ValueError) as error:
            text = f"`sequence_bias` has to map tuples of token ids to numbers, and is {sequence_bias!r}."
            raise GenerationError(text) from error
        _admitted("sequence_bias", sequence_bias, bool(self.sequence_bias), "at least one sequence with its bias")
        self.single = torch.empty(0)
        self.groups: list[tuple[Tensor, Tensor, Tensor]] = []

    def _prepare(self, scores: Tensor) -> None:
        vocab, device = scores.shape[-1], scores.device
        if outside := sorted({token for ids in self.sequence_bias for token in ids if token >= vocab}):
            raise GenerationError(f"Token ids {outside} are biased or forbidden, and the vocabulary has {vocab} tokens.")
        self.single = torch.zeros(vocab, device=device)
        self.groups = []
        for length in sorted({len(ids) for ids in self.sequence_bias}):
            group = {ids: bias for ids, bias in self.sequence_bias.items() if len(ids) == length}
            tokens, biases = torch.tensor([*group], device=device), torch.tensor([*group.values()], device=device)
            if length == 1:
                self.single[tokens[:, 0]] = biases
            else:
                self.groups.append((tokens[:, :-1], tokens[:, -1], biases))

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
        admitted = isinstance(bad_words_ids, Sequence) and len(bad_words_ids) > 0
        _admitted("bad_words_ids", bad_words_ids, admitted, "a list of lists of token ids")
        kept = [word for word in bad_words_ids if list(word) not in [[eos] for eos in token_ids(eos_token_id)]]
        super().__init__({tuple(word): FORBIDDEN for word in kept or bad_words_ids})
        if not kept:
            self.sequence_bias = {}


class PrefixConstrainedLogitsProcessor(LogitsProcessor):
    """Allows only the tokens that a function names for the row's text so far (arXiv:2010.00904).

    The function is `(batch_id, input_ids of one row) -> token ids`; `num_beams` rows belong to one batch entry.
    """

    def __init__(self, prefix_allowed_tokens_fn: Callable[[int, Tensor], Any], num_beams: int = 1) -> None:
        self.allowed, self.num_beams = prefix_allowed_tokens_fn, num_beams

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        mask = torch.full_like(scores, FORBIDDEN)
        for row, ids in enumerate(input_ids):
            allowed = token_ids(self.allowed(row // self.num_beams, ids))
            if not allowed:
                text = f"`prefix_allowed_tokens_fn` allows no token for batch entry {row // self.num_beams}."
                raise GenerationError(f"{text} Let it return at least one, for example the end-of-sequence token.")
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
        self.max_length, self.eos = max_length, _Tokens(eos_token_id, "eos_token_id")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.eos.force(scores) if input_ids.shape[-1] == self.max_length - 1 else scores


class InfNanRemoveLogitsProcessor(LogitsProcessor):
    """Zero for NaN, the largest and smallest finite number for infinities."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return torch.nan_to_num(scores, nan=0.0)


class ExponentialDecayLengthPenalty(LogitsProcessor):
    """Raises the score of the end of sequence exponentially: (new tokens after `input_ids_seq_length` before it starts, factor)."""

    def __init__(
        self, exponential_decay_length_penalty: tuple[int, float], eos_token_id: Any, input_ids_seq_length: int
    ) -> None:
        start, self.factor = exponential_decay_length_penalty
        self.start, self.eos = start + input_ids_seq_length, _Tokens(eos_token_id, "eos_token_id")

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
        self.tokens, self.begin_index = _Tokens(begin_suppress_tokens, "begin_suppress_tokens"), begin_index

    def set_begin_index(self, begin_index: int) -> None:
        self.begin_index = begin_index

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self.tokens.forbid(scores) if input_ids.shape[-1] == self.begin_index else scores


class ClassifierFreeGuidanceLogitsProcessor(LogitsProcessor):
    """Classifier-free guidance (arXiv:2306.05284) for scores of which the second half of the batch is unconditional."""

    def __init__(self, guidance_scale: float) -> None:
        self.guidance_scale = _admitted("guidance_scale", guidance_scale, guidance_scale > 1, "above 1")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if scores.shape[0] != 2 * (rows := input_ids.shape[0]):
            text = f"Guidance needs scores of {2 * rows} rows for {rows} rows of `input_ids`, conditional ones first"
            raise GenerationError(f"{text}; there are {scores.shape[0]}.")
        conditional, unconditional = scores.chunk(2)
        return unconditional + (conditional - unconditional) * self.guidance_scale


class UnbatchedClassifierFreeGuidanceLogitsProcessor(LogitsProcessor):
    """Classifier-free guidance for language models (arXiv:2306.17806): a second run of the model without the prompt.

    The model is called as `model(input_ids, attention_mask=, use_cache=, past_key_values=)`. `unconditional_ids` are the
    negative prompt, LongTensor (batch, length), repeated where there are several rows for each; None: the prompt's last token.
    """

    def __init__(
        self,
        guidance_scale: float,
        model: Any,
        unconditional_ids: Tensor | None = None,
        unconditional_attention_mask: Tensor | None = None,
        use_cache: bool | None = True,
    ) -> None:
        self.guidance_scale, self.model = guidance_scale, model
        self.ids: Any = unconditional_ids
        self.mask: Any = unconditional_attention_mask
        self.use_cache, self.cache, self.started = bool(use_cache), None, False

    def _unconditional(self, input_ids: Tensor) -> Tensor:
        latest = input_ids[:, -1:]
        if self.started:
            self.ids = torch.cat((self.ids, latest), 1)
            self.mask = torch.cat((self.mask, torch.ones_like(latest)), 1)
        else:
            ids = latest if self.ids is None else self.ids.to(latest.device)
            mask = torch.ones_like(ids) if self.mask is None else self.mask.to(latest.device)
            times, odd = divmod(latest.shape[0], ids.shape[0])
            if odd or not times:
                raise GenerationError(
                    f"The negative prompt has {ids.shape[0]} rows for {latest.shape[0]}. Give one for each prompt."
                )
            self.ids, self.mask, self.started = ids.repeat_interleave(times, 0), mask.repeat_interleave(times, 0), True
        run = self.ids if self.cache is None else latest
        outputs = self.model(run, attention_mask=self.mask, use_cache=self.use_cache, past_key_values=self.cache)
        self.cache = getattr(outputs, "past_key_values", None) if self.use_cache else None
        return outputs.logits[:, -1].float()

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.log_softmax(-1)
        if self.guidance_scale == 1:
            return scores
        unconditional = self._unconditional(input_ids).log_softmax(-1)
        return self.guidance_scale * (scores - unconditional) + unconditional


class TemperatureLogitsWarper(LogitsProcessor):
    """Scores divided by the temperature: below 1 sharpens, above 1 flattens."""

    def __init__(self, temperature: float) -> None:
        self.temperature = _admitted("temperature", temperature, temperature > 0, "above 0 (greedy decoding is without)")

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores / self.temperature


class _Filter(LogitsProcessor):
    """Gives the tokens that `removed` marks the score `filter_value`; at least `keep` tokens stay."""

    def __init__(self, filter_value: float, min_tokens_to_keep: int = 1) -> None:
        self.filter_value, self.keep = filter_value, _positive("min_tokens_to_keep", min_tokens_to_keep)

    def removed(self, scores: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill(self.removed(scores), self.filter_value)


def _below_best(scores: Tensor, count: int) -> Tensor:
    """True where a token scores less than the `count` best of its row."""
    return scores < scores.topk(min(count, scores.shape[-1]), dim=-1).values[:, -1:]


class TopKLogitsWarper(_Filter):
    """The `top_k` likeliest tokens stay (arXiv:1805.04833, section 5.4); all that tie with the last of them too."""

    def __init__(self, top_k: int, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.top_k = max(_positive("top_k", top_k), self.keep)

    def removed(self, scores: Tensor) -> Tensor:
        return _below_best(scores, self.top_k)


class TopPLogitsWarper(_Filter):
    """The likeliest tokens whose probabilities add up to `top_p` stay (nucleus sampling, arXiv:1904.09751)."""

    def __init__(self, top_p: float, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.top_p = _admitted("top_p", top_p, 0 <= top_p <= 1, "from 0 to 1")

    def removed(self, scores: Tensor) -> Tensor:
        ascending, order = scores.sort(dim=-1)
        removed = ascending.softmax(-1).cumsum(-1) <= 1 - self.top_p
        removed[:, -self.keep :] = False
        return removed.scatter(1, order, removed)


class TopHLogitsWarper(_Filter):
    """The likeliest tokens that together hold `top_h` of the entropy of the 100 likeliest stay (arXiv:2509.02510)."""

    def __init__(self, top_h: float, filter_value: float = FORBIDDEN) -> None:
        super().__init__(filter_value)
        self.top_h = _admitted("top_h", top_h, 0 < top_h <= 1, "above 0 and at most 1")

    def removed(self, scores: Tensor) -> Tensor:
        best, order = scores.topk(min(100, scores.shape[-1]), dim=-1)
        log_probabilities = best.log_softmax(-1)
        terms = -torch.nan_to_num(log_probabilities.exp() * log_probabilities, nan=0.0)
        removed = terms.cumsum(-1) > self.top_h * terms.sum(-1, keepdim=True)
        removed[:, 0] = False
        return torch.ones_like(scores, dtype=torch.bool).scatter(1, order, removed)


class MinPLogitsWarper(_Filter):
    """Tokens stay that are at least `min_p` times as likely as the likeliest (arXiv:2407.01082)."""

    def __init__(self, min_p: float, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.min_p = _admitted("min_p", min_p, 0 <= min_p <= 1, "from 0 to 1")

    def removed(self, scores: Tensor) -> Tensor:
        probabilities = scores.softmax(-1)
        removed = probabilities < self.min_p * probabilities.amax(-1, keepdim=True)
        return removed.scatter(1, probabilities.topk(min(self.keep, scores.shape[-1]), dim=-1).indices, False)


class TypicalLogitsWarper(_Filter):
    """Tokens stay whose surprise is nearest to the entropy, up to a mass (locally typical sampling, arXiv:2202.00666)."""

    def __init__(self, mass: float = 0.9, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.mass = _admitted("typical_p", mass, 0 < mass < 1, "above 0 and below 1")

    def removed(self, scores: Tensor) -> Tensor:
        surprise = -scores.log_softmax(-1)
        entropy = (surprise * (-surprise).exp()).nansum(-1, keepdim=True)
        distance, order = (surprise - entropy).abs().sort(dim=-1)
        mass = scores.gather(-1, order).softmax(-1).cumsum(-1)
        last = (mass < self.mass).sum(-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
        removed = distance > distance.gather(1, last)
        removed[:, : self.keep] = False
        return removed.scatter(1, order, removed)


class EpsilonLogitsWarper(_Filter):
    """Tokens with a probability of at least `epsilon` stay (arXiv:2210.15191)."""

    def __init__(self, epsilon: float, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.epsilon = _admitted("epsilon", epsilon, 0 < epsilon < 1, "above 0 and below 1")

    def removed(self, scores: Tensor) -> Tensor:
        return (scores.softmax(-1) < self.epsilon) & _below_best(scores, self.keep)


class EtaLogitsWarper(EpsilonLogitsWarper):
    """Epsilon sampling whose threshold sinks with the entropy (arXiv:2210.15191)."""

    def __init__(
        self, epsilon: float, filter_value: float = FORBIDDEN, min_tokens_to_keep: int = 1, device: Any = None
    ) -> None:
        super().__init__(epsilon, filter_value, min_tokens_to_keep)

    def removed(self, scores: Tensor) -> Tensor:
        log_probabilities = scores.log_softmax(-1)
        probabilities = log_probabilities.exp()
        entropy = -(probabilities * log_probabilities).nansum(-1, keepdim=True)
        threshold = (math.sqrt(self.epsilon) * (-entropy).exp()).clamp(max=self.epsilon)
        return (probabilities < threshold) & _below_best(scores, self.keep)


def processors_for(
    session: GenerationSession,
    min_length: int,
    custom: Sequence[Any] | None,
    allowed: Any,
    negative: tuple[Tensor | None, Tensor | None],
) -> LogitsProcessorList:
    """The processors in the order in which Hugging Face Transformers applies them.

    Args:
        custom: the user's own; one of the same class takes the place of ours, the others come before the warpers.
        allowed: the function of `PrefixConstrainedLogitsProcessor`.
        negative: ids and mask of the prompt that `guidance_scale` leads away from.
    """
    c: Any = session.config
    eos, prompt_length = token_ids(c.eos_token_id), session.prompt_length

    def source(name: str) -> Tensor:
        if session.source_ids is None:
            raise GenerationError(f"`{name}` needs `input_ids`, and the prompt was given in another form. Leave it out.")
        return session.source_ids

    if negative[0] is not None and c.guidance_scale in (None, 1):
        raise GenerationError("`negative_prompt_ids` take effect only with a `guidance_scale`. Set it, or leave them out.")
    begin = prompt_length if prompt_length > 1 or c.forced_bos_token_id is None else prompt_length + 1
    made = [
        c.guidance_scale not in (None, 1)
        and UnbatchedClassifierFreeGuidanceLogitsProcessor(c.guidance_scale, session.model, *negative, c.use_cache),
        c.sequence_bias and SequenceBiasLogitsProcessor(c.sequence_bias),
        c.encoder_repetition_penalty not in (None, 1.0)
        and EncoderRepetitionPenaltyLogitsProcessor(c.encoder_repetition_penalty, source("encoder_repetition_penalty")),
        c.repetition_penalty not in (None, 1.0) and RepetitionPenaltyLogitsProcessor(c.repetition_penalty, session.padding()),
        c.no_repeat_ngram_size and NoRepeatNGramLogitsProcessor(c.no_repeat_ngram_size),
        c.encoder_no_repeat_ngram_size
        and EncoderNoRepeatNGramLogitsProcessor(c.encoder_no_repeat_ngram_size, source("encoder_no_repeat_ngram_size")),
        c.bad_words_ids and NoBadWordsLogitsProcessor(c.bad_words_ids, eos),
        min_length > 0 and eos and MinLengthLogitsProcessor(min_length, eos),
        allowed and PrefixConstrainedLogitsProcessor(allowed, session.rows_per_prompt),
        c.forced_bos_token_id is not None and ForcedBOSTokenLogitsProcessor(c.forced_bos_token_id),
        c.forced_eos_token_id is not None and ForcedEOSTokenLogitsProcessor(session.max_length, c.forced_eos_token_id),
        c.remove_invalid_values and InfNanRemoveLogitsProcessor(),
        c.exponential_decay_length_penalty
        and ExponentialDecayLengthPenalty(c.exponential_decay_length_penalty, eos, prompt_length),
        c.suppress_tokens and SuppressTokensLogitsProcessor(c.suppress_tokens),
        c.begin_suppress_tokens and SuppressTokensAtBeginLogitsProcessor(c.begin_suppress_tokens, begin),
    ]
    keep = {"min_tokens_to_keep": max(len(eos), 1) + 1 if (c.num_beams or 1) > 1 else 1}
    warpers = [
        c.temperature not in (None, 1.0) and TemperatureLogitsWarper(c.temperature),
        c.top_h is not None and TopHLogitsWarper(c.top_h),
        c.top_k and TopKLogitsWarper(c.top_k, **keep),
        c.top_p not in (None, 1.0) and TopPLogitsWarper(c.top_p, **keep),
        c.min_p is not None and MinPLogitsWarper(c.min_p, **keep),
        c.typical_p not in (None, 1.0) and TypicalLogitsWarper(c.typical_p, **keep),
        c.epsilon_cutoff and EpsilonLogitsWarper(c.epsilon_cutoff, **keep),
        c.eta_cutoff and EtaLogitsWarper(c.eta_cutoff, **keep),
    ]
    last = [c.renormalize_logits and LogitNormalization()]
    return LogitsProcessorList(with_custom(made, custom) + [step for step in (warpers if c.do_sample else []) + last if step])
