"""Rotary position parameters: every spelling that checkpoints have, brought into one, and checked.

The one form is a dict with `rope_type`, `rope_theta` and what the type needs, or one such dict for each layer type. Facts
about the types: linear (kaiokendev, 2023), dynamic NTK (bloc97, emozilla, 2023), YaRN (arXiv 2309.00071), LongRoPE
(arXiv 2402.13753), llama3 (Llama 3.1's release); `proportional` rotates the lowest share of a head's pairs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from .errors import ConfigError, did_you_mean, shorten

ROPE_NAMES = ("rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor")
"""The names, new and old, under which a config states rotary parameters."""

_OLDER_KEYS = {"type": "rope_type", "attn_factor": "attention_factor"}


class RopeType(NamedTuple):
    """Keys that a type cannot do without, and keys that it reads when they are there."""

    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


ROPE_TYPES: dict[str, RopeType] = {
    "default": RopeType(),
    "linear": RopeType(("factor",)),
    "dynamic": RopeType(("factor",)),
    "yarn": RopeType(
        ("factor", "original_max_position_embeddings"),
        ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
    ),
    "longrope": RopeType(("short_factor", "long_factor", "original_max_position_embeddings"), ("factor", "attention_factor")),
    "llama3": RopeType(("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")),
    "proportional": RopeType((), ("factor",)),
}

_PRETRAINED_LENGTH = "original_max_position_embeddings"
_LARGEST = 1e300


def _number(value: object, most: float = _LARGEST) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def _positive(value: object) -> bool:
    return _number(value) and value != 0


def _positives(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(_positive(item) for item in value)


_Check: TypeAlias = tuple[Callable[[object], bool], str]
_ABOVE_0: _Check = (_positive, "a number above 0")
_FROM_0: _Check = (_number, "a number, 0 or more")
_LIST: _Check = (_positives, "a list of numbers above 0")

_CHECKS: dict[str, _Check] = {
    "rope_type": (lambda value: isinstance(value, str), "a string"),
    **dict.fromkeys(("rope_theta", "factor", _PRETRAINED_LENGTH, "low_freq_factor", "high_freq_factor"), _ABOVE_0),
    **dict.fromkeys(("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"), _FROM_0),
    **dict.fromkeys(("short_factor", "long_factor"), _LIST),
    "partial_rotary_factor": (lambda value: _number(value, most=1.0), "a number from 0 to 1"),
    "truncate": (lambda value: isinstance(value, bool), "true or false"),
}

_MAY_BE_NULL = {("yarn", "factor")}
"""A null factor is the ratio of `max_position_embeddings` to `original_max_position_embeddings`."""


def rope_given(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Take the rotary keys out of `values`: the dict that they state together, empty where they state nothing.

    `rope_scaling` comes before `rope_parameters`, and what stands in the dict before what stands beside it, as in the peer.
    """
    found = {name: values.pop(name, None) for name in ROPE_NAMES}
    for name in ("rope_scaling", "rope_parameters"):
        if found[name] is not None and not isinstance(found[name], Mapping):
            raise ConfigError(f"`{name}` of {where} must be a dict, got {found[name]!r}.", field=name)
    given = dict(found["rope_scaling"] or found["rope_parameters"] or {})
    for name in ("rope_theta", "partial_rotary_factor"):
        beside = found[name] if found[name] is not None else (found["rope_parameters"] or {}).get(name)
        if beside is not None and is_nested(given):
            given = {key: one if one is None else {name: beside, **one} for key, one in given.items()}
        elif beside is not None and given.get(name) is None:
            given[name] = beside
    return given


def is_nested(rope: Mapping[str, Any]) -> bool:
    """Whether the dict holds one rope dict for each layer type (None: that type has none)."""
    return any(isinstance(one, Mapping) for one in rope.values()) and all(
        one is None or isinstance(one, Mapping) for one in rope.values()
    )


def each_rope(rope: Mapping[str, Any] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each rope dict with the place where it stands: one, or one for each layer type."""
    if rope and is_nested(rope):
        for layer_type, one in rope.items():
            if one is not None:
                yield f"rope_parameters['{layer_type}']", one
    elif rope:
        yield "rope_parameters", dict(rope)


def normalize_rope(rope: Mapping[str, Any], *, theta: float, partial: float | None, pretrained_length: Any) -> dict[str, Any]:
    """A new dict in today's spelling, with what is left out filled in.

    Args:
        theta: base wavelength where the dict states none.
        partial: share of each head that is rotated, where the dict states none; None leaves it out (all of it).
        pretrained_length: positions seen in pretraining, for the types that need it; None where it isn't known.
    """
    if is_nested(rope):
        filled = {"theta": theta, "partial": partial, "pretrained_length": pretrained_length}
        return {key: one if one is None else normalize_rope(one, **filled) for key, one in rope.items()}
    made: dict[str, Any] = {}
    for key, value in rope.items():
        current = _OLDER_KEYS.get(key, key)
        if current == key or rope.get(current) is None:
            made[current] = list(value) if isinstance(value, tuple) else value
    for key, value in (("rope_type", "default"), ("rope_theta", theta), ("partial_rotary_factor", partial)):
        if made.get(key) is None and value is not None:
            made[key] = value
    known = ROPE_TYPES.get(made["rope_type"]) if isinstance(made["rope_type"], str) else None
    if known and _PRETRAINED_LENGTH in known.needs and made.get(_PRETRAINED_LENGTH) is None and pretrained_length is not None:
        made[_PRETRAINED_LENGTH] = pretrained_length
    return made


def check_rope(rope: Mapping[str, Any] | None, where: str, *, types: Collection[str] | None = None) -> None:
    """Refuse what cannot be computed: wrong kinds of values, missing keys.

    Args:
        where: the config, for the message.
        types: the rope types to accept; None accepts any, as files may name types that only a plugin knows.

    Raises: ConfigError
    """
    for place, one in each_rope(rope):
        for key, (is_right, words) in _CHECKS.items():
            if one.get(key) is not None and not is_right(one[key]):
                raise ConfigError(f"`{place}['{key}']` of {where} must be {words}, got {one[key]!r}.", field=key)
        kind = one.get("rope_type")
        if types is not None and kind not in types:
            known_types = f"known are {shorten(types, 12)}.{did_you_mean(str(kind), types)}"
            raise ConfigError(f"`{place}['rope_type']` of {where} is {kind!r}; {known_types}", field="rope_type")
        known = ROPE_TYPES.get(str(kind))
        if known is None:
            continue
        missing = [key for key in known.needs if one.get(key) is None and not (key in one and (kind, key) in _MAY_BE_NULL)]
        if missing:
            needs = f"`{place}` of {where} has `rope_type` `{kind}`, which needs {shorten(missing)}."
            raise ConfigError(needs, missing=missing)
        if kind == "llama3" and one["high_freq_factor"] <= one["low_freq_factor"]:
            raise ConfigError(f"`{place}` of {where}: `high_freq_factor` must be above `low_freq_factor`.")


def warn_of_unread(rope: Mapping[str, Any] | None, where: str) -> None:
    """Say it when a key with a known effect stands beside a `rope_type` that does not read it."""
    effects = {key for kind in ROPE_TYPES.values() for key in (*kind.needs, *kind.reads)} - {_PRETRAINED_LENGTH}
    for place, one in each_rope(rope):
        known = ROPE_TYPES.get(str(one.get("rope_type")))
        if known is None:
            continue
        unread = [k for k in effects - {*known.needs, *known.reads} if one.get(k) is not None and (k, one[k]) != ("factor", 1)]
        if unread:
            warnings.warn(
                f"`{place}` of {where} has {shorten(sorted(unread))}, which `rope_type` `{one['rope_type']}` does not read: "
                "it has no effect.",
                stacklevel=2,
            )


def check_factors(rope: Mapping[str, Any] | None, head_dim: int, where: str) -> None:
    """Refuse rotary parameters that do not fit heads of `head_dim` channels. Raises: ConfigError."""
    for place, one in each_rope(rope):
        partial = one.get("partial_rotary_factor")
        rotated = int(head_dim * (1.0 if partial is None else partial))
        # heads of up to 4 channels are test fixtures, which the peer lets through as well
        if head_dim > 4 and head_dim % 2 and rotated == head_dim:
            raise ConfigError(f"`head_dim` of {where} is {head_dim}: rotary positions turn pairs of channels, make it even.")
        for key in ("short_factor", "long_factor"):
            if one.get("rope_type") == "longrope" and len(one[key]) != rotated // 2:
                raise ConfigError(
                    f"`{place}['{key}']` of {where} has {len(one[key])} numbers, and heads with {rotated} rotated channels "
                    f"need {rotated // 2}.",
                    field=key,
                )
