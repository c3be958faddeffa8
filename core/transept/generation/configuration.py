"""What a call of `generate` is told: lengths, strategy, cache, filters, outputs, tokens."""

from __future__ import annotations

import copy
import inspect
import json
import numbers
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import CheckpointNotFoundError, CorruptFileError, GenerationError, UnknownArgumentError, did_you_mean
from ..files import atomic_write_text, open_location, read_json

__all__ = ["DEFAULTS", "OF_STRATEGIES", "GenerationConfig", "warn_of_idle_flags"]

FILE_NAME = "generation_config.json"

DEFAULTS: dict[str, Any] = {"use_cache": True, "top_k": 50}
"""What `generate` assumes where neither the call nor the checkpoint says anything; any other field does nothing when it is None."""


_OF_STRATEGIES = """use_mtp token_healing watermarking_config is_assistant num_assistant_tokens num_assistant_tokens_schedule
    low_memory assistant_confidence_threshold prompt_lookup_num_tokens max_matching_ngram_size assistant_early_exit
    assistant_lookbehind target_lookbehind assistant_ensemble_weight speculation_type continuous_batching_config penalty_alpha
    dola_layers constraints force_words_ids"""
# What a field may hold besides None: its type, its range in words and as a test, and the fields of that kind.
# Lengths are in tokens, `max_time` is in seconds.
_KINDS: tuple[tuple[Any, str, Callable[[Any], bool], str], ...] = (
    (numbers.Integral, "an integer from 0", lambda value: value >= 0, """max_length max_new_tokens min_length min_new_tokens
        top_k no_repeat_ngram_size encoder_no_repeat_ngram_size"""),
    (numbers.Integral, "an integer from 1", lambda value: value >= 1, """num_beams num_beam_groups num_return_sequences
        prefill_chunk_size max_cache_len"""),
    (numbers.Real, "a number from 0", lambda value: value >= 0, "temperature"),
    (numbers.Real, "a number above 0", lambda value: value > 0, "repetition_penalty encoder_repetition_penalty max_time"),
    (numbers.Real, "a number from 0 to 1", lambda value: 0 <= value <= 1, "top_p min_p epsilon_cutoff eta_cutoff"),
    (numbers.Real, "a number above 0, at most 1", lambda value: 0 < value <= 1, "typical_p top_h"),
    (bool, "True or False", lambda value: True, """do_sample use_cache renormalize_logits remove_invalid_values output_attentions
        output_hidden_states output_scores output_logits return_dict_in_generate"""),
    (object, "True, False or 'never'", lambda value: value is True or value is False or value == "never", "early_stopping"),
    (object, "anything", lambda value: True, """stop_strings cache_implementation cache_config length_penalty bad_words_ids
        forced_bos_token_id forced_eos_token_id exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
        sequence_bias guidance_scale pad_token_id bos_token_id eos_token_id decoder_start_token_id compile_config
        disable_compile diversity_penalty transformers_version _from_model_config"""),
    (object, "anything", lambda value: True, _OF_STRATEGIES),
)  # fmt: skip
_FIELDS = {name: (kind, words, admits) for kind, words, admits, names in _KINDS for name in names.split()}
_ORIGIN = frozenset({"transformers_version", "_from_model_config"})
OF_STRATEGIES = frozenset(_OF_STRATEGIES.split())
"""Fields that only strategies of plugins understand."""


@dataclass(frozen=True)
class _Need:
    """Flags that have an effect only where another one, `by`, is at least so much."""

    by: str
    least: int
    flags: tuple[str, ...]

    def met(self, value: Any) -> bool:
        return value is not None and value >= self.least

    def unmet(self, stated: Mapping[str, Any]) -> str:
        """The first stated flag that asks for something, as `name=value`; empty without one."""
        asked = {name: stated[name] for name in self.flags if stated.get(name) is not None}
        if "penalty_alpha" in stated:
            asked.pop("top_k", None)  # contrastive search has one
        flags = (f"{k}={v!r}" for k, v in asked.items() if v is True or v not in (0, 1, DEFAULTS.get(k)))
        return next(flags, "")

    def __str__(self) -> str:
        return f"{self.by}={bool(self.least) if self.least == 1 else self.least}"


_NEEDS = (
    _Need("do_sample", 1, ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")),
    _Need("num_beams", 2, ("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty")),
    _Need("use_cache", 1, ("cache_implementation", "cache_config", "prefill_chunk_size", "max_cache_len")),
    _Need("return_dict_in_generate", 1, ("output_scores", "output_logits", "output_attentions", "output_hidden_states")),
)


class GenerationConfig:
    """The arguments of `generate` that are data. A field that is None falls back on the model's own, then on `DEFAULTS`.

    Assigned values are checked at once (`GenerationError`); values that come out of a file are kept as they are and
    checked when `generate` uses them. An unknown keyword is an `UnknownArgumentError`; an unknown key of a file is kept
    and written back. Flags given together that contradict each other (`do_sample=False, temperature=0.7`) are refused.
    `temperature=0` means greedy decoding.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, **kwargs: Any) -> None:
        _refuse_unused(name for name in kwargs if name not in _FIELDS)
        self.update(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        check_value(name, value)
        super().__setattr__(name, value)

    def validate(self) -> None:
        """Check every value, wherever it came from: `GenerationError` when one is out of range, or two exclude each other."""
        for name, value in vars(self).items():
            check_value(name, value)
        suppressed = set(self.suppress_tokens or ())
        for name in ("forced_bos_token_id", "forced_eos_token_id"):
            forced = set(token_ids(getattr(self, name)))
            if forced and forced <= suppressed:
                text = f"`{name}` forces {sorted(forced)}, and `suppress_tokens` forbids the same."
                raise GenerationError(f"{text} No token would be left: take them out of one of the two.")

    def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Set the fields that are named, and return the keywords that are no field.

        With `defaults_only` those that have a value are left alone; with `allow_custom_entries` unknown names are kept too.
        """
        known = {name: value for name, value in kwargs.items() if name in _FIELDS or name in vars(self) or allow_custom_entries}
        for name, value in known.items():  # all are checked before one is set
            check_value(name, value)
        if not defaults_only:
            refuse_contradictions(known)
        for name, value in known.items():
            if not defaults_only or getattr(self, name, None) is None:
                super().__setattr__(name, value)
        return {name: value for name, value in kwargs.items() if name not in known}

    def to_dict(self) -> dict[str, Any]:
        """Every field, and what else the file held; JSON types wherever the value allows it."""
        extra = [name for name in vars(self) if name not in _FIELDS and not name.startswith("_")]
        return {name: _plain(getattr(self, name)) for name in (*_FIELDS, *extra)}

    def to_diff_dict(self) -> dict[str, Any]:
        return {name: value for name, value in self.to_dict().items() if value is not None}

    def to_json_string(self, use_diff: bool = True) -> str:
        return json.dumps(self.to_diff_dict() if use_diff else self.to_dict(), indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, save_directory: str | os.PathLike[str], config_file_name: str | None = None) -> None:
        """Write `generation_config.json` into the folder, atomically: `GenerationError` for a value that JSON cannot hold."""
        folder = Path(save_directory)
        try:
            text = self.to_json_string()
        except TypeError as error:
            raise GenerationError(f"The generation config cannot be saved: {error}. Unset that field first.") from error
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / (config_file_name or FILE_NAME), text)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name: Any,
        config_file_name: str | None = None,
        *,
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Read `generation_config.json` of a checkpoint (a folder, a repository, any installed source).

        Keywords are fields to set over those of the file, and where to look: what `open_location` takes. A file that is not
        there is a `CheckpointNotFoundError`, one that is no JSON object a `CorruptFileError`.
        """
        where = {key: kwargs.pop(key) for key in inspect.signature(open_location).parameters if key in kwargs}
        location = open_location(pretrained_model_name, **where)
        name = config_file_name or FILE_NAME
        if (path := location.fetch(name)) is None:
            hint = "`GenerationConfig.from_model_config(config)` makes one from the model's config."
            raise CheckpointNotFoundError(f"`{location.name}` has no `{name}`. {hint}")
        content = read_json(path)
        if not isinstance(content, dict):
            raise CorruptFileError(f"`{name}` of `{location.name}` is no JSON object. Save the generation config again.")
        return cls.from_dict(content, return_unused_kwargs=return_unused_kwargs, **kwargs)

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """From a file's content, which is kept as it is; keywords are the user's and are checked."""
        config = cls()
        kept = {key: value for key, value in config_dict.items() if not key.startswith("_") or key == "_from_model_config"}
        vars(config).update(copy.deepcopy({key: value for key, value in kept.items() if value is not None}))
        unused = config.update(**kwargs)
        if return_unused_kwargs:
            return config, unused
        _refuse_unused(unused)
        return config

    @classmethod
    def from_model_config(cls, model_config: Any) -> Self:
        """From the fields of a model's config (or its dict) that speak of generation: token ids, and what older files kept there."""
        outer = model_config if isinstance(model_config, Mapping) else model_config.to_dict()
        parts = [outer.get(name) for name in ("decoder", "generator", "text_config")]
        inner = next((part for part in parts if isinstance(part, Mapping)), outer)
        found = {name: inner.get(name) if outer.get(name) is None else outer[name] for name in _FIELDS}
        config: Self = cls.from_dict({name: value for name, value in found.items() if name not in _ORIGIN})
        if config.output_attentions or config.output_hidden_states or config.output_scores or config.output_logits:
            config.return_dict_in_generate = True
        config._from_model_config = True
        return config

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GenerationConfig):
            return False
        mine, theirs = ({k: v for k, v in c.to_diff_dict().items() if k not in _ORIGIN} for c in (self, other))
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __repr__(self) -> str:
        return f"GenerationConfig({', '.join(f'{name}={value!r}' for name, value in self.to_diff_dict().items())})"


for _name in _FIELDS:
    setattr(GenerationConfig, _name, None)


def token_ids(value: Any) -> list[int]:
    """One id, several, a tensor of them or None, as a list."""
    if value is None:
        return []
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [int(value)] if isinstance(value, numbers.Integral) else [int(token) for token in value]


def check_value(name: str, value: Any) -> None:
    """Raises `GenerationError` when the field cannot have the value."""
    if value is None or name not in _FIELDS:
        return
    kind, words, admits = _FIELDS[name]
    truth = isinstance(value, bool) and kind not in (bool, object)  # Python has it that True is an integer
    if truth or not isinstance(value, kind) or not admits(value):
        raise GenerationError(f"`{name}` has to be {words}, and is {value!r}.")


def refuse_contradictions(stated: Mapping[str, Any]) -> None:
    """Raises `GenerationError` when two flags of one call exclude each other."""
    for need in _NEEDS:
        decided = stated.get(need.by)
        if decided is not None and not need.met(decided) and (flag := need.unmet(stated)):
            text = f"`{need.by}={decided!r}` contradicts `{flag}`, which takes effect only with `{need}`."
            raise GenerationError(f"{text} Leave one of the two out.")
    for least, most in (("min_new_tokens", "max_new_tokens"), ("min_length", "max_length")):
        if stated.get(least) is not None and stated.get(most) is not None and stated[least] > stated[most]:
            raise GenerationError(f"`{least}={stated[least]}` is more than `{most}={stated[most]}`. Change one of the two.")


def warn_of_idle_flags(given: Mapping[str, Any], keywords: Mapping[str, Any], effective: GenerationConfig) -> None:
    """Say which flags of this call, its config's and its keywords, have no effect because the one that they need is off."""
    stated = {**given, **keywords}
    for need in _NEEDS:
        by = stated.get(need.by)
        if need.met(by) or need.met(getattr(effective, need.by)):
            continue
        # what a config holds may be switched off by a keyword on purpose
        if flag := need.unmet(stated if by is None else keywords):
            warnings.warn(f"`{flag}` has no effect without `{need}`.", UserWarning, stacklevel=5)


def _refuse_unused(names: Iterable[str]) -> None:
    for name in names:
        hint = did_you_mean(name, _FIELDS)
        raise UnknownArgumentError(f"`GenerationConfig` takes no argument `{name}`.{hint}", argument=name)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping) and any(isinstance(key, tuple) for key in value):  # sequence_bias; JSON has no tuple keys
        return [[list(key), item] for key, item in value.items()]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value.to_dict() if hasattr(value, "to_dict") else copy.deepcopy(value)
