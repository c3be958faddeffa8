"""What a generation config means: which strategy serves it, which processors and stopping criteria it asks for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..errors import GenerationError
from . import processors as p
from . import stopping as s
from . import warpers as w
from .configuration import NEEDS, GenerationConfig, token_ids

__all__ = ["criteria_for", "processors_for", "strategy_for", "warn_of_idle_flags"]

# Each argument that asks for a strategy of its own, and that strategy's key.
_ASKS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("constraints", "constrained", bool),
    ("force_words_ids", "constrained", bool),
    ("num_beam_groups", "group_beam_search", lambda value: value > 1),
    ("num_beams", "beam_search", lambda value: value > 1),
    ("assistant_model", "assisted", lambda value: value is not None),
    ("prompt_lookup_num_tokens", "assisted", bool),
    ("assistant_early_exit", "assisted", bool),
    ("use_mtp", "assisted", bool),
    ("dola_layers", "dola", lambda value: value is not None),
    ("penalty_alpha", "contrastive", bool),
    ("watermarking_config", "watermark", bool),
    ("token_healing", "token_healing", bool),
    ("continuous_batching_config", "continuous_batching", bool),
)
_BEAMS = ("constrained", "group_beam_search", "beam_search")  # the earlier ones are beam searches too


def strategy_for(config: GenerationConfig, arguments: Mapping[str, Any]) -> tuple[str, str]:
    """The strategy's key, and the flag that asks for it.

    Raises:
        GenerationError: two flags ask for different strategies.
    """
    values = {**{name: getattr(config, name, None) for name, _, _ in _ASKS}, **arguments}
    asked = {
        key: f"{name}={values[name]!r}" for name, key, says in _ASKS if values.get(name) is not None and says(values[name])
    }
    beams = [key for key in _BEAMS if key in asked]
    for key in beams[1:]:
        del asked[key]
    if len(asked) > 1:
        first, second = list(asked.values())[:2]
        raise GenerationError(f"`{first}` and `{second}` ask for different decoding strategies. Leave one of them out.")
    if asked:
        return next(iter(asked.items()))
    return ("sample" if config.do_sample else "greedy"), f"do_sample={bool(config.do_sample)}"


def warn_of_idle_flags(stated: Mapping[str, Any], effective: GenerationConfig) -> None:
    """Say which flags of this call have no effect because the one that they need was left out."""
    for need in NEEDS:
        if stated.get(need.by) is None and not need.met(getattr(effective, need.by)) and (flags := need.unmet(stated)):
            warnings.warn(f"`{flags[0]}` has no effect without `{need}`.", UserWarning, stacklevel=5)


def processors_for(
    config: GenerationConfig,
    *,
    model: Any,
    prompt_length: int,
    max_length: int,
    min_length: int,
    rows_per_prompt: int,
    source_ids: Tensor | None,
    padding: Tensor | None,
    custom: Sequence[Any] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, Tensor], Any] | None = None,
    negative_prompt_ids: Tensor | None = None,
    negative_prompt_attention_mask: Tensor | None = None,
) -> p.LogitsProcessorList:
    """The processors in the order in which Hugging Face Transformers applies them.

    Args:
        source_ids: the encoder's input, or the prompt, LongTensor (batch, length).
        padding: left padding of each row, LongTensor (batch,).
        custom: the user's own; one of the same class takes the place of ours, the others come before the warpers.
    """
    c: Any = config
    allowed: Any = prefix_allowed_tokens_fn
    eos = token_ids(c.eos_token_id)

    def source(name: str) -> Tensor:
        if source_ids is None:
            raise GenerationError(f"`{name}` needs `input_ids`, and the prompt was given in another form. Leave it out.")
        return source_ids

    begin = prompt_length if prompt_length > 1 or c.forced_bos_token_id is None else prompt_length + 1
    negative = (negative_prompt_ids, negative_prompt_attention_mask, c.use_cache)
    steps: list[tuple[Any, Callable[[], Any]]] = [
        (
            c.guidance_scale not in (None, 1),
            lambda: p.UnbatchedClassifierFreeGuidanceLogitsProcessor(c.guidance_scale, model, *negative),
        ),
        (c.sequence_bias, lambda: p.SequenceBiasLogitsProcessor(c.sequence_bias)),
        (
            c.encoder_repetition_penalty not in (None, 1.0),
            lambda: p.EncoderRepetitionPenaltyLogitsProcessor(
                c.encoder_repetition_penalty, source("encoder_repetition_penalty")
            ),
        ),
        (
            c.repetition_penalty not in (None, 1.0),
            lambda: p.RepetitionPenaltyLogitsProcessor(c.repetition_penalty, padding),
        ),
        (c.no_repeat_ngram_size, lambda: p.NoRepeatNGramLogitsProcessor(c.no_repeat_ngram_size)),
        (
            c.encoder_no_repeat_ngram_size,
            lambda: p.EncoderNoRepeatNGramLogitsProcessor(
                c.encoder_no_repeat_ngram_size, source("encoder_no_repeat_ngram_size")
            ),
        ),
        (c.bad_words_ids, lambda: p.NoBadWordsLogitsProcessor(c.bad_words_ids, eos)),
        (min_length > 0 and eos, lambda: p.MinLengthLogitsProcessor(min_length, eos)),
        (allowed, lambda: p.PrefixConstrainedLogitsProcessor(allowed, rows_per_prompt)),
        (c.forced_bos_token_id is not None, lambda: p.ForcedBOSTokenLogitsProcessor(c.forced_bos_token_id)),
        (c.forced_eos_token_id is not None, lambda: p.ForcedEOSTokenLogitsProcessor(max_length, c.forced_eos_token_id)),
        (c.remove_invalid_values, p.InfNanRemoveLogitsProcessor),
        (
            c.exponential_decay_length_penalty,
            lambda: p.ExponentialDecayLengthPenalty(c.exponential_decay_length_penalty, eos, prompt_length),
        ),
        (c.suppress_tokens, lambda: p.SuppressTokensLogitsProcessor(c.suppress_tokens)),
        (c.begin_suppress_tokens, lambda: p.SuppressTokensAtBeginLogitsProcessor(c.begin_suppress_tokens, begin)),
    ]
    made = _merge([make() for wanted, make in steps if wanted], custom)
    made += _warpers_for(c, len(eos) + 1 if (c.num_beams or 1) > 1 else 1) if c.do_sample else []
    made += [p.LogitNormalization()] if c.renormalize_logits else []
    return p.LogitsProcessorList(made)


def _warpers_for(c: Any, keep: int) -> list[Any]:
    steps: list[tuple[Any, Callable[[], Any]]] = [
        (c.temperature not in (None, 1.0), lambda: w.TemperatureLogitsWarper(c.temperature)),
        (c.top_h is not None, lambda: w.TopHLogitsWarper(c.top_h)),
        (c.top_k, lambda: w.TopKLogitsWarper(c.top_k, min_tokens_to_keep=keep)),
        (c.top_p not in (None, 1.0), lambda: w.TopPLogitsWarper(c.top_p, min_tokens_to_keep=keep)),
        (c.min_p is not None, lambda: w.MinPLogitsWarper(c.min_p, min_tokens_to_keep=keep)),
        (c.typical_p not in (None, 1.0), lambda: w.TypicalLogitsWarper(c.typical_p, min_tokens_to_keep=keep)),
        (c.epsilon_cutoff, lambda: w.EpsilonLogitsWarper(c.epsilon_cutoff, min_tokens_to_keep=keep)),
        (c.eta_cutoff, lambda: w.EtaLogitsWarper(c.eta_cutoff, min_tokens_to_keep=keep)),
    ]
    return [make() for wanted, make in steps if wanted]


def criteria_for(
    config: GenerationConfig, *, prompt_length: int, max_length: int, tokenizer: Any, custom: Sequence[Any] | None = None
) -> s.StoppingCriteriaList:
    """The stopping criteria; a custom one of the same class takes the place of ours."""
    made: list[Any] = [s.MaxLengthCriteria(max_length)]
    if config.max_time is not None:
        made.append(s.MaxTimeCriteria(config.max_time))
    if config.stop_strings is not None:
        if tokenizer is None:
            raise GenerationError("`stop_strings` are looked for in text: pass the model's `tokenizer` to `generate` too.")
        made.append(s.StopStringCriteria(tokenizer, config.stop_strings, prompt_length))
    if eos := token_ids(config.eos_token_id):
        made.append(s.EosTokenCriteria(eos))
    return s.StoppingCriteriaList(_merge(made, custom))


def _merge(ours: list[Any], custom: Sequence[Any] | None) -> list[Any]:
    theirs = {type(item): item for item in reversed(custom or ())}
    merged = [theirs.get(type(item), item) for item in ours]
    return merged + [item for item in custom or () if not any(item is placed for placed in merged)]
