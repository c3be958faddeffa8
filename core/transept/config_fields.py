"""The types that fields of a configuration have, and the sentence that refuses a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from .errors import ConfigError

_LARGEST = 2**53

_NAMES = """float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool
    float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2"""
_DTYPES = {"half": "float16", "float": "float32", "double": "float64"} | {name: name for name in _NAMES.split()}


def is_dtype(value: object) -> bool:
    """Whether it is a `torch.dtype`, told without importing torch."""
    return type(value).__module__ == "torch" and type(value).__name__ == "dtype"


def dtype_name(value: object) -> str | None:
    """The name of a torch dtype, which may come as its name already. Raises: ValueError"""
    if value is None:
        return None
    name = str(value).removeprefix("torch.") if isinstance(value, str) or is_dtype(value) else ""
    if name not in _DTYPES:
        raise ValueError("must be a torch dtype or the name of one")
    return _DTYPES[name]


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _number_keys(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    return {int(k) if isinstance(k, str) and k.isascii() and k.isdecimal() else k: label for k, label in value.items()}


def _mapping_or_object(value: object) -> object:
    if value is None or isinstance(value, Mapping) or callable(getattr(value, "to_dict", None)):
        return value
    raise ValueError("must be a dict, or an object with `to_dict`")


Size = Annotated[int, Field(gt=0, le=_LARGEST)]
"""A number of things there must be at least one of: channels, heads, rows of an embedding."""
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
"""A number of things, possibly none."""
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
"""A dropout rate, or another number from 0 to 1."""
Strings = Annotated[list[str] | None, BeforeValidator(_listed)]
TokenIds = Annotated[int | list[int] | None, BeforeValidator(_listed)]
"""One token id, several that mean the same, or none. Files on the hub say -1 as well, so the range is not checked."""
DTypeName = Annotated[str | None, BeforeValidator(dtype_name)]
LabelNames = Annotated[dict[int, str] | None, BeforeValidator(_number_keys)]
"""Label by number; in JSON the numbers are strings."""
AnyQuantization = Annotated[Any, AfterValidator(_mapping_or_object)]


def config_error(error: ValidationError, where: str) -> ConfigError:
    """pydantic's complaints, one sentence for each field."""
    words: dict[str, list[str]] = {}
    got: dict[str, str] = {}
    for one in error.errors(include_url=False):
        field = {"dtype_name": "dtype"}.get(str(one["loc"][0]), str(one["loc"][0]))
        place = "".join(f"[{part!r}]" for part in one["loc"][1:] if isinstance(part, int))
        cause = one.get("ctx", {}).get("error")
        text = str(cause) if cause is not None else one["msg"][:1].lower() + one["msg"][1:]
        words.setdefault(field, []).append(text + (f" at {place}" if place else ""))
        value = repr(one["input"])
        got.setdefault(field, f"{value if len(value) <= 80 else value[:77] + '...'} ({type(one['input']).__name__})")
    said = (f"`{field}` of {where}: {' or '.join(dict.fromkeys(texts))}, got {got[field]}." for field, texts in words.items())
    return ConfigError(" ".join(said), refused=tuple(words), field=next(iter(words)))
