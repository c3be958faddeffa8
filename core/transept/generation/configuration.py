"""What a call of `generate` is told: lengths, strategy, cache, filters, outputs, tokens."""

from __future__ import annotations

import copy
import json
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from ..errors import CheckpointNotFoundError, CorruptFileError, GenerationError, UnknownArgumentError, did_you_mean
from ..files import atomic_write_text, open_location, read_json
from .signature import parameters_of

__all__ = ["DEFAULTS", "GenerationConfig"]

FILE_NAME = "generation_config.json"

DEFAULTS: dict[str, Any] = {"use_cache": True, "top_k": 50}
"""What `generate` assumes where neither the call nor the checkpoint says anything; any other field does nothing when it is None."""


@dataclass(frozen=True)
class _Range:
    kind: Any
    low: float
    high: float = math.inf
    above: bool = False
    """The low end itself is not allowed."""

    def admits(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, self.kind):
            return False
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        noun = "an integer" if self.kind is numbers.Integral else "a number"
        start = f"{'above' if self.above else 'from'} {self.low:g}"
        return f"{noun} {start}" + ("" if self.high == math.inf else f" to {self.high:g}")


_COUNT = _Range(numbers.Integral, 0)
_POSITIVE = _Range(numbers.Integral, 1)
_UNIT = _Range(numbers.Real, 0, 1)
_RANGES: dict[str, _Range] = {
    **dict.fromkeys(("max_length", "max_new_tokens", "min_length", "min_new_tokens", "top_k"), _COUNT),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), _COUNT),
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences", "prefill_chunk_size", "max_cache_len"), _POSITIVE),
    **dict.fromkeys(("top_p", "min_p", "epsilon_cutoff", "eta_cutoff"), _UNIT),
    **dict.fromkeys(("typical_p", "top_h"), _Range(numbers.Real, 0, 1, above=True)),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "max_time"), _Range(numbers.Real, 0, above=True)),
    "temperature": _Range(numbers.Real, 0),
}


@dataclass(frozen=True)
class Need:
    """Flags that have an effect only where another one, `by`, is at least so much."""

    by: str
    least: int
    flags: tuple[str, ...]

    def met(self, value: Any) -> bool:
        return value is not None and value >= self.least

    def unmet(self, stated: Mapping[str, Any]) -> list[str]:
        """The stated flags that ask for something, as `name=value`."""
        flags = [
            name for name in self.flags if name != "top_k" or "penalty_alpha" not in stated
        ]  # contrastive search has a top_k
        asked = {name: stated[name] for name in flags if stated.get(name) is not None}
        return [
            f"{name}={value!r}" for name, value in asked.items() if value is True or value not in (0, 1, DEFAULTS.get(name))
        ]

    def __str__(self) -> str:
        return f"{self.by}={bool(self.least) if self.least == 1 else self.least}"


NEEDS = (
    Need("do_sample", 1, ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")),
    Need("num_beams", 2, ("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty")),
    Need("use_cache", 1, ("cache_implementation", "cache_config", "prefill_chunk_size", "max_cache_len")),
    Need("return_dict_in_generate", 1, ("output_scores", "output_logits", "output_attentions", "output_hidden_states")),
)


class GenerationConfig:
    """The arguments of `generate` that are data. A field that is None falls back on the model's own, then on `DEFAULTS`.

    Assigned values are checked at once (`GenerationError`); values that come out of a file are kept as they are and
    checked when `generate` uses them. An unknown keyword is an `UnknownArgumentError`; an unknown key of a file is kept
    and written back. Flags given together that contradict each other (`do_sample=False, temperature=0.7`) are refused.
    `temperature=0` means greedy decoding.
    """

    # length, in tokens; `max_time` in seconds
    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int | None = None
    min_new_tokens: int | None = None
    early_stopping: bool | Literal["never"] | None = None
    max_time: float | None = None
    stop_strings: str | list[str] | None = None
    # strategy
    do_sample: bool | None = None
    num_beams: int | None = None
    # cache
    use_cache: bool | None = None
    cache_implementation: str | None = None
    cache_config: dict[str, Any] | None = None
    max_cache_len: int | None = None
    prefill_chunk_size: int | None = None
    # logits
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    top_h: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    repetition_penalty: float | None = None
    encoder_repetition_penalty: float | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    encoder_no_repeat_ngram_size: int | None = None
    bad_words_ids: list[list[int]] | None = None
    renormalize_logits: bool | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    remove_invalid_values: bool | None = None
    exponential_decay_length_penalty: tuple[int, float] | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    sequence_bias: dict[tuple[int, ...], float] | list[Any] | None = None
    guidance_scale: float | None = None
    # outputs
    num_return_sequences: int | None = None
    output_attentions: bool | None = None
    output_hidden_states: bool | None = None
    output_scores: bool | None = None
    output_logits: bool | None = None
    return_dict_in_generate: bool | None = None
    # tokens
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | list[int] | None = None
    # where it comes from; the fields of strategies that are plugins are named below
    transformers_version: str | None = None
    _from_model_config: bool | None = None

    def __init__(self, **kwargs: Any) -> None:
        refuse_unknown(kwargs, _FIELDS, "GenerationConfig")
        refuse_contradictions(kwargs)
        for name, value in kwargs.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        check_value(name, value)
        super().__setattr__(name, value)

    def validate(self) -> None:
        """Check every value, wherever it came from.

        Raises:
            GenerationError: a value is out of range, or two exclude each other.
        """
        for name, value in vars(self).items():
            check_value(name, value)
        suppressed = set(self.suppress_tokens or ())
        for name in ("forced_bos_token_id", "forced_eos_token_id"):
            forced = set(token_ids(getattr(self, name)))
            if forced and forced <= suppressed:
                raise GenerationError(
                    f"`{name}` forces {sorted(forced)}, and `suppress_tokens` forbids the same: no token would be left. "
                    "Take them out of one of the two."
                )

    def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Set the fields that are named, and return the keywords that are no field.

        Args:
            defaults_only: leave alone what already has a value.
            allow_custom_entries: keep unknown names too.
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

    def stated(self) -> dict[str, Any]:
        """What has a value, without its origin."""
        return {name: value for name, value in vars(self).items() if value is not None and name not in _ORIGIN}

    def to_dict(self) -> dict[str, Any]:
        """Every field, and what else the file held; JSON types wherever the value allows it."""
        extra = [name for name in vars(self) if name not in _FIELDS and not name.startswith("_")]
        return {name: _plain(getattr(self, name)) for name in (*_FIELDS, *extra)}

    def to_diff_dict(self) -> dict[str, Any]:
        """Only what has a value."""
        return {name: value for name, value in self.to_dict().items() if value is not None}

    def to_json_string(self, use_diff: bool = True) -> str:
        return json.dumps(self.to_diff_dict() if use_diff else self.to_dict(), indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, save_directory: str | os.PathLike[str], config_file_name: str | None = None) -> None:
        """Write `generation_config.json` into the folder, atomically.

        Raises:
            GenerationError: it holds a value that cannot be written as JSON.
            SaveError: the disk refuses.
        """
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

        Args:
            kwargs: fields to set over those of the file, and where to look: what `open_location` takes.

        Raises:
            CheckpointNotFoundError: the checkpoint has no such file.
            CorruptFileError: it is no JSON object.
        """
        where = {key: kwargs.pop(key) for key in parameters_of(open_location) if key in kwargs}
        location = open_location(pretrained_model_name, **where)
        name = config_file_name or FILE_NAME
        path = location.fetch(name)
        if path is None:
            raise CheckpointNotFoundError(
                f"`{location.name}` has no `{name}`. `GenerationConfig.from_model_config(config)` makes one from the model's config."
            )
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
        refuse_unknown(unused, _FIELDS, "GenerationConfig")
        return config

    @classmethod
    def from_model_config(cls, model_config: Any) -> Self:
        """From the fields of a model's config (or its dict) that speak of generation: token ids, and what older files kept there."""
        outer = model_config if isinstance(model_config, Mapping) else model_config.to_dict()
        parts = [outer.get(name) for name in ("decoder", "generator", "text_config")]
        inner = next((part for part in parts if isinstance(part, Mapping)), outer)
        found = {
            name: outer[name] if outer.get(name) is not None else inner.get(name) for name in _FIELDS if name not in _ORIGIN
        }
        config: Self = cls.from_dict(found)
        if config.output_attentions or config.output_hidden_states or config.output_scores or config.output_logits:
            config.return_dict_in_generate = True
        config._from_model_config = True
        return config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and self._identity() == other._identity()

    __hash__ = None  # type: ignore[assignment]  # it can change

    def _identity(self) -> dict[str, Any]:
        return {name: value for name, value in self.to_diff_dict().items() if name not in _ORIGIN}

    def __repr__(self) -> str:
        return f"GenerationConfig({', '.join(f'{name}={value!r}' for name, value in self.stated().items())})"


_OF_STRATEGIES = """use_mtp token_healing watermarking_config is_assistant num_assistant_tokens num_assistant_tokens_schedule
    assistant_confidence_threshold prompt_lookup_num_tokens max_matching_ngram_size assistant_early_exit assistant_lookbehind
    target_lookbehind assistant_ensemble_weight speculation_type compile_config disable_compile continuous_batching_config
    low_memory penalty_alpha dola_layers diversity_penalty num_beam_groups constraints force_words_ids"""
for _name in str.split(_OF_STRATEGIES):
    setattr(GenerationConfig, _name, None)
_FIELDS = (*GenerationConfig.__annotations__, *str.split(_OF_STRATEGIES))
_FLAGS = frozenset(name for name, kind in GenerationConfig.__annotations__.items() if kind == "bool | None")
_ORIGIN = frozenset({"transformers_version", "_from_model_config"})


def token_ids(value: Any) -> list[int]:
    """One id, several, a tensor of them or None, as a list."""
    if value is None:
        return []
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [int(value)] if isinstance(value, numbers.Integral) else [int(token) for token in value]


def check_value(name: str, value: Any) -> None:
    """Raises `GenerationError` when the field cannot have the value."""
    if value is None:
        return
    if name in _RANGES and not _RANGES[name].admits(value):
        raise GenerationError(f"`{name}` has to be {_RANGES[name]}, and is {value!r}.")
    if name in _FLAGS and not isinstance(value, bool):
        raise GenerationError(f"`{name}` has to be True or False, and is {value!r}.")
    if name == "early_stopping" and value not in (True, False, "never"):
        raise GenerationError(f"`early_stopping` has to be True, False or 'never', and is {value!r}.")


def refuse_unknown(kwargs: Mapping[str, Any], known: Any, where: str) -> None:
    """Raises `UnknownArgumentError` for the first keyword that is not known."""
    for name in kwargs:
        if name not in known:
            raise UnknownArgumentError(f"`{where}` takes no argument `{name}`.{did_you_mean(name, known)}", argument=name)


def refuse_contradictions(stated: Mapping[str, Any]) -> None:
    """Raises `GenerationError` when two flags of one call exclude each other."""
    for need in NEEDS:
        decided = stated.get(need.by)
        if decided is None or need.met(decided):
            continue
        if flags := need.unmet(stated):
            raise GenerationError(
                f"`{need.by}={decided!r}` contradicts `{flags[0]}`, which takes effect only with `{need}`. "
                "Leave one of the two out."
            )
    for least, most in (("min_new_tokens", "max_new_tokens"), ("min_length", "max_length")):
        if stated.get(least) is not None and stated.get(most) is not None and stated[least] > stated[most]:
            raise GenerationError(
                f"`{least}={stated[least]}` is more than `{most}={stated[most]}`. Lower one or raise the other."
            )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping) and any(isinstance(key, tuple) for key in value):  # sequence_bias; JSON has no tuple keys
        return [[list(key), item] for key, item in value.items()]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value.to_dict() if hasattr(value, "to_dict") else copy.deepcopy(value)
