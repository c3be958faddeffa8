"""`PretrainedConfig`: what a checkpoint's `config.json` says, as checked data.

A family's configuration is a subclass that declares its fields; types and ranges are checked when a value is given, at
construction and at assignment. Rules between fields are checked on construction, on copies, and by `validate_config()`,
which building a model and saving call: a legal change may so take two assignments. `config.json` is data: no string in it
is imported, fetched or run; it can only select among what is installed.
"""

from __future__ import annotations

import copy
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, overload

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .errors import (
    CheckpointNotFoundError,
    ConfigError,
    CorruptFileError,
    PluginError,
    SaveError,
    UnknownArgumentError,
    did_you_mean,
    shorten,
)
from .rope_parameters import (
    ROPE_NAMES,
    ROPE_TYPES,
    check_factors,
    check_rope,
    is_nested,
    normalize_rope,
    rope_given,
    warn_of_unread,
)

__all__ = ["Count", "PreTrainedConfig", "PretrainedConfig", "Probability", "Size", "TokenIds"]

FILE_NAME = "config.json"
RECORD_NAME = "transept"
"""Key of the file under which `save_pretrained` writes which plugins made the model."""

_LARGEST = 2**53
_DEEPEST = 64


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


Size = Annotated[int, Field(gt=0, le=_LARGEST)]
"""A number of things there must be at least one of: channels, heads, rows of an embedding."""
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
"""A number of things, possibly none."""
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
"""A dropout rate, or another share from 0 to 1."""
TokenIds = Annotated[int | list[int] | None, BeforeValidator(_listed)]
"""One token id, several that mean the same, or none. Hub files use -1 as well, so the range is not checked."""

_DTYPES = {"half": "float16", "float": "float32", "double": "float64"} | {
    name: name
    for name in (
        *("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2", "bool"),
    )
}


def _is_dtype(value: object) -> bool:
    return type(value).__module__ == "torch" and type(value).__name__ == "dtype"


def _dtype_name(value: object) -> object:
    """The name of a torch dtype, told without importing torch."""
    if value is None:
        return None
    name = str(value).removeprefix("torch.") if isinstance(value, str) or _is_dtype(value) else ""
    if name not in _DTYPES:
        raise ValueError(f"must be a torch dtype or the name of one{did_you_mean(name, _DTYPES) if name else ''}")
    return _DTYPES[name]


def _int_keys(value: object) -> object:
    """Keys are numbers, which JSON writes as strings."""
    if not isinstance(value, Mapping):
        return value
    return {int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() else key: label for key, label in value.items()}


def _mapping_or_object(value: object) -> object:
    if value is None or isinstance(value, Mapping) or callable(getattr(value, "to_dict", None)):
        return value
    raise ValueError("must be a dict, or an object with `to_dict`")


class PretrainedConfig(BaseModel):
    """Base of every configuration.

    A subclass sets `model_type`, declares its fields with types and defaults, and may override `fill_defaults` (fields that
    follow from others) and `validate_config` (rules between fields). `attribute_map` gives other names to fields; they are
    read, written, and taken by the constructor and from files, and files are written with the field's own name.

    Raises:
        UnknownArgumentError: the constructor got a keyword that is no field. On a live configuration any attribute may be
            assigned, and is kept and saved.
        ConfigError: a value is of the wrong type or out of range, or values do not fit together.
    """

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=(), arbitrary_types_allowed=True)

    model_type: ClassVar[str] = ""
    attribute_map: ClassVar[dict[str, str]] = {}
    sub_configs: ClassVar[dict[str, type[PretrainedConfig]]] = {}
    """Fields that hold a configuration of their own; a dict given for one is made into it."""
    keys_to_ignore_at_inference: ClassVar[list[str]] = []
    default_theta: ClassVar[float] = 10000.0
    default_partial_rotary_factor: ClassVar[float | None] = None

    architectures: Annotated[list[str] | None, BeforeValidator(_listed)] = None
    transformers_version: str | None = None
    dtype_name: Annotated[str | None, BeforeValidator(_dtype_name)] = None
    """The dtype's name, `dtype` in files and in Python (there a `torch.dtype`)."""
    output_hidden_states: bool | None = False
    output_attentions: bool | None = False
    return_dict: bool | None = True
    chunk_size_feed_forward: Count = 0
    is_encoder_decoder: bool = False
    is_decoder: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True
    id2label: Annotated[dict[int, str] | None, BeforeValidator(_int_keys)] = None
    label2id: dict[str, int | str] | None = None
    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = None
    pad_token_id: int | None = None
    bos_token_id: TokenIds = None
    eos_token_id: TokenIds = None
    decoder_start_token_id: TokenIds = None
    quantization_config: Annotated[Any, AfterValidator(_mapping_or_object)] = None
    name_or_path: str = ""
    """Where it was read from; never saved."""
    attn_implementation: str | dict[str, str] | None = None
    """The kernel that is asked for (see `transept.attention`); never read from a file, never saved."""

    _aliases: ClassVar[dict[str, str]] = {
        "dtype": "dtype_name",
        "torch_dtype": "dtype_name",
        "use_return_dict": "return_dict",
        "_attn_implementation": "attn_implementation",
        "_name_or_path": "name_or_path",
    }
    _in_memory: ClassVar[frozenset[str]] = frozenset({"name_or_path", "attn_implementation"})
    _has_rope: ClassVar[bool] = False

    # -- construction ------------------------------------------------------------------------------------------------------

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._aliases = {**cls._aliases, **cls.attribute_map}
        for alias, field in cls.attribute_map.items():
            if alias in cls.model_fields or field not in cls.model_fields:
                raise TypeError(f"`{cls.__name__}.attribute_map`: `{alias}` must not be a field, and `{field}` must be one.")
            setattr(cls, alias, _other_name(field))
        cls._has_rope = "rope_parameters" in cls.model_fields
        if cls._has_rope:
            cls.rope_theta = property(_get_rope("rope_theta"), _set_rope_key("rope_theta"))  # type: ignore[attr-defined]
            cls.rope_scaling = _other_name("rope_parameters")  # type: ignore[attr-defined]
            if "partial_rotary_factor" not in cls.model_fields:
                partial = property(_get_rope("partial_rotary_factor", 1.0), _set_rope_key("partial_rotary_factor"))
                cls.partial_rotary_factor = partial  # type: ignore[attr-defined]

    def __init__(self, /, **values: Any) -> None:
        named = type(self)._field_names(values, f"`{type(self).__name__}`")
        self._refuse_unknown(name for name in named if not self._takes(name))
        self._fill(named, loaded=False)

    def _fill(self, values: dict[str, Any], *, loaded: bool, where: str = "", then: Mapping[str, Any] | None = None) -> None:
        """Set every field. `loaded` values come from a file (`where`), and may have keys that the class does not know;
        `then` holds rotary parameters that come after the file's."""
        cls = type(self)
        where = where or f"`{cls.__name__}`"
        model_type, count = values.pop("model_type", None), values.pop("num_labels", None)
        if cls.model_type and model_type not in (None, "", cls.model_type):
            raise ConfigError(
                f"{where} has `model_type` {model_type!r}, and `{cls.__name__}` is for `{cls.model_type}`. "
                "`AutoConfig.from_pretrained` finds the class that fits.",
                model_type=model_type,
            )
        rope = rope_given(values, where) if cls._has_rope else {}
        for name, kind in cls.sub_configs.items():
            if isinstance(values.get(name), Mapping):
                values[name] = kind.from_dict(values[name]) if loaded else kind(**values[name])
        try:
            self.__pydantic_validator__.validate_python(values, self_instance=self)
        except ValidationError as error:
            raise _config_error(error, where) from None
        if model_type and not cls.model_type:
            object.__setattr__(self, "model_type", str(model_type))
        given = set(self.model_fields_set)
        self._fill_labels(count, loaded=loaded, where=where)
        if cls._has_rope:
            self._fill_rope(rope or self.__dict__["rope_parameters"] or {}, where, types=None if loaded else ROPE_TYPES)
            for name, value in (then or {}).items():
                setattr(self, name, value)
        self.fill_defaults()
        self.__pydantic_fields_set__ = given
        self.validate_config()

    def fill_defaults(self) -> None:
        """Set fields that were left out and follow from others; called once, when a configuration is made."""

    def validate_config(self) -> None:
        """Check the rules between fields. Subclasses add theirs, and call `super().validate_config()`.

        Raises: ConfigError
        """
        where = f"`{type(self).__name__}`"
        if self.problem_type == "single_label_classification" and self.num_labels == 1:
            raise ConfigError(
                f"`problem_type` of {where} is `single_label_classification`, which needs two labels or more, and `num_labels` is 1."
            )
        if self._has_rope:
            rope = self.__dict__["rope_parameters"]
            check_rope(rope, where)
            head_dim = getattr(self, "head_dim", None)
            if isinstance(head_dim, int):
                check_factors(rope, head_dim, where)
        for name in self.sub_configs:
            inner = getattr(self, name, None)
            if isinstance(inner, PretrainedConfig):
                inner.validate_config()

    def _fill_labels(self, count: object, *, loaded: bool, where: str) -> None:
        """Bring `id2label`, `label2id` and `num_labels` together; two labels where nothing is said."""
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
            raise ConfigError(f"`num_labels` of {where} must be a whole number, 0 or more, got {count!r}.", field="num_labels")
        names, ids = self.id2label, self.label2id
        if names is None and ids is not None and sorted(map(str, ids.values())) == sorted(map(str, range(len(ids)))):
            names = {int(number): label for label, number in ids.items()}
        if names is not None and count is not None and count != len(names) and not loaded:
            raise ConfigError(f"`num_labels` of {where} is {count}, and `id2label` has {len(names)} labels: give one of the two.")
        if names is None:
            names = {i: f"LABEL_{i}" for i in range(2 if count is None else count)}
            ids = None
        if ids is None:
            ids = {label: i for i, label in names.items()}
        elif not loaded and not _agree(names, ids):
            raise ConfigError(f"`id2label` and `label2id` of {where} contradict each other: give one of the two.")
        self.__dict__.update(id2label=names, label2id=ids)

    def _fill_rope(self, given: Mapping[str, Any], where: str, types: Iterable[str] | None) -> None:
        current = self.__dict__.get("rope_parameters")
        flat = current if current and not is_nested(current) else {}
        rope = normalize_rope(
            given,
            theta=flat.get("rope_theta") or self.default_theta,
            partial=self.__dict__.get("partial_rotary_factor", self.default_partial_rotary_factor),
            pretrained_length=self.get("original_max_position_embeddings") or self.get("max_position_embeddings"),
        )
        check_rope(rope, where, types=types)
        warn_of_unread(rope, where)
        self.__dict__["rope_parameters"] = rope

    # -- attributes --------------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        cls = type(self)
        name = cls._aliases.get(name, name)
        if name in cls.model_fields:
            self._assign(name, value)
        elif name.startswith("_") or isinstance(getattr(cls, name, None), property):
            object.__setattr__(self, name, value)
        elif hasattr(cls, name):
            raise ConfigError(f"`{name}` belongs to the class `{cls.__name__}`, and is not set on one configuration.", field=name)
        else:
            self._extra[name] = value

    def _assign(self, name: str, value: Any) -> None:
        """Set a field, and the fields that must go with it; a refused value changes nothing."""
        where = f"`{type(self).__name__}`"
        if name == "rope_parameters" and (value is None or isinstance(value, Mapping)):
            self._fill_rope(value or {}, where, ROPE_TYPES)
            self.__pydantic_fields_set__.add(name)
            return
        if name in self.sub_configs and isinstance(value, Mapping):
            value = self.sub_configs[name](**value)
        try:
            self.__pydantic_validator__.validate_assignment(self, name, value)
        except ValidationError as error:
            raise _config_error(error, where) from None
        if name in ("id2label", "label2id"):
            self._follow_labels(name)
        elif name == "attn_implementation" and not isinstance(value, Mapping):
            for inner in self._inner_configs():
                inner.attn_implementation = value

    def _follow_labels(self, changed: str) -> None:
        names, ids = self.id2label, self.label2id
        if names is not None and ids is not None and _agree(names, ids):
            return
        self.__dict__["label2id" if changed == "id2label" else "id2label"] = None
        self._fill_labels(None, loaded=True, where=f"`{type(self).__name__}`")

    def __delattr__(self, name: str) -> None:
        """Deleting a field brings its default back."""
        name = type(self)._aliases.get(name, name)
        field = type(self).model_fields.get(name)
        if field is None:
            super().__delattr__(name)
        else:
            setattr(self, name, field.get_default(call_default_factory=True))

    @property
    def _extra(self) -> dict[str, Any]:
        """Keys that the class does not know."""
        extra = self.__pydantic_extra__
        assert extra is not None
        return extra

    @property
    def dtype(self) -> Any:
        """The `torch.dtype` that the weights are stored in, or None. A name is accepted when it is assigned."""
        if self.dtype_name is None:
            return None
        import torch

        return getattr(torch, self.dtype_name)

    torch_dtype = dtype

    @property
    def use_return_dict(self) -> bool | None:
        return self.return_dict

    @property
    def _attn_implementation(self) -> str | dict[str, str] | None:
        return self.attn_implementation

    @property
    def _name_or_path(self) -> str:
        return self.name_or_path

    @property
    def num_labels(self) -> int:
        """Number of labels; assigning another number names the labels anew."""
        return len(self.id2label or ())

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        if isinstance(count, bool) or count != self.num_labels:
            before = (self.id2label, self.label2id)
            self.__dict__.update(id2label=None, label2id=None)
            try:
                self._fill_labels(count, loaded=False, where=f"`{type(self).__name__}`")
            except ConfigError:
                self.__dict__.update(id2label=before[0], label2id=before[1])
                raise

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PretrainedConfig:
        """The configuration of the text model: an inner one of a composite configuration, else this one."""
        wanted = ("text_config", "text_encoder") if encoder else ("decoder", "generator", "text_config")
        inner = (self.get(name) for name in wanted)
        return next((found for found in inner if isinstance(found, PretrainedConfig)), self)

    def _inner_configs(self) -> Iterator[PretrainedConfig]:
        for name in self.sub_configs:
            if isinstance(inner := getattr(self, name, None), PretrainedConfig):
                yield inner

    # -- as a mapping ------------------------------------------------------------------------------------------------------

    @classmethod
    def _takes(cls, name: str) -> bool:
        return name in cls.model_fields or name in ("num_labels", "model_type") or (cls._has_rope and name in ROPE_NAMES)

    def has_field(self, name: str) -> bool:
        """Whether a value stands under that name: a field, another name of one, or a key that the class does not know."""
        name = type(self)._aliases.get(name, name)
        return self._takes(name) or name in self._extra

    def get(self, name: str, default: Any = None) -> Any:
        """The value under that name, or `default` where there is none."""
        name = type(self)._aliases.get(name, name)
        if name in self._extra:
            return self._extra[name]
        return getattr(self, name, default) if self._takes(name) else default

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return (name for name, _ in self._items())

    def _items(self) -> Iterator[tuple[str, Any]]:
        """What is saved: the public name and value of each field, then unknown keys."""
        for name in type(self).model_fields:
            value = self.__dict__[name]
            if name not in self._in_memory and not (name == "quantization_config" and value is None):
                yield ("dtype" if name == "dtype_name" else name), value
        yield from self._extra.items()

    def update(self, values: Mapping[str, Any]) -> None:
        """Assign each of the values; when one is refused, none is changed."""
        before = (dict(self.__dict__), dict(self._extra), set(self.model_fields_set))
        try:
            for name, value in values.items():
                setattr(self, name, value)
        except BaseException:
            fields, extra, given = before
            object.__setattr__(self, "__dict__", fields)
            object.__setattr__(self, "__pydantic_extra__", extra)
            object.__setattr__(self, "__pydantic_fields_set__", given)
            raise

    def copy_with(self, **changes: Any) -> Self:
        """A deep copy with some fields changed, checked as a whole.

        Raises: UnknownArgumentError, ConfigError
        """
        self._refuse_unknown(name for name in changes if not self.has_field(name))
        made = super().__deepcopy__({})
        made.update(changes)
        made.validate_config()
        return made

    def __copy__(self) -> Self:
        made = super().__copy__()
        made.validate_config()
        return made

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        made = super().__deepcopy__(memo)
        made.validate_config()
        return made

    def __eq__(self, other: object) -> bool:
        """Same class, and the same when saved."""
        return type(self) is type(other) and isinstance(other, PretrainedConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {_dump(self.to_diff_dict(), default=repr)}"

    __str__ = __repr__

    # -- writing -----------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Every value under its public name, copied; dtypes are names, inner configurations dicts."""
        made = {name: _plain(value) for name, value in self._items()}
        if self.model_type:
            made["model_type"] = self.model_type
        return made

    def to_diff_dict(self) -> dict[str, Any]:
        """`to_dict` without those common fields that have the base class's default: what is written to files."""
        base = _base_defaults()
        own = {name for kind in type(self).__mro__ if kind is not PretrainedConfig for name in vars(kind).get("__annotations__", ())}
        made = {n: v for n, v in self.to_dict().items() if n not in base or n in own - {"dtype_name"} or v != base[n]}
        for name in self.sub_configs:
            if isinstance(inner := getattr(self, name, None), PretrainedConfig):
                made[name] = inner.to_diff_dict()
        return made

    def to_json_string(self, use_diff: bool = True) -> str:
        """JSON with sorted keys. Infinity and NaN are written as `{"__float__": …}`, as the peer does.

        Raises: ConfigError: a value cannot be JSON; the message names its key.
        """
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return self._json(values)

    def _json(self, values: dict[str, Any]) -> str:
        try:
            return _dump(values)
        except (TypeError, ValueError, RecursionError):
            for name, value in values.items():
                try:
                    _dump(value)
                except (TypeError, ValueError, RecursionError) as error:
                    raise ConfigError(
                        f"`{name}` of `{type(self).__name__}` cannot be written as JSON: {error}. Delete it before saving.", field=name
                    ) from None
            raise

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write `to_json_string()` to a file, atomically."""
        from .files import atomic_write_text

        atomic_write_text(json_file_path, self.to_json_string(use_diff=use_diff))

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write `config.json` into the folder, atomically, with the versions of transept and of the plugins that serve it.

        Raises: ConfigError: the values do not fit together; SaveError: it cannot be written, and the old file still stands.
        """
        from .files import atomic_write_text

        self.validate_config()
        text = self._json({**self.to_diff_dict(), RECORD_NAME: self._made_by()})
        try:
            os.makedirs(save_directory, exist_ok=True)
        except OSError as error:
            raise SaveError(f"`{os.fspath(save_directory)}` cannot be made a folder: {error}. Save somewhere else.") from error
        atomic_write_text(os.path.join(save_directory, FILE_NAME), text)

    def _made_by(self) -> dict[str, Any]:
        from importlib.metadata import version

        from .discovery import registry

        quantization = _plain(self.quantization_config) or {}
        wanted = [("configs", self.model_type), ("models", self.model_type), ("quantizers", quantization.get("quant_method"))]
        plugins = {}
        for kind, key in wanted:
            try:
                dist, number = registry.dist_of(kind, key)
            except PluginError:
                continue  # a class made by hand has no dist
            plugins[dist] = number
        return {"version": version("transept"), "plugins": plugins}

    # -- reading -----------------------------------------------------------------------------------------------------------

    @overload
    @classmethod
    def from_pretrained(cls, name: Any, *, return_unused_kwargs: Literal[True], **overrides: Any) -> tuple[Self, dict[str, Any]]: ...
    @overload
    @classmethod
    def from_pretrained(cls, name: Any, *, return_unused_kwargs: Literal[False] = False, **overrides: Any) -> Self: ...
    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *, return_unused_kwargs: bool = False, **overrides: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Read a checkpoint's configuration.

        Args:
            pretrained_model_name_or_path: a folder, a `.json` file, a name on the hub, `scheme:name` for an installed
                source, or a `transept.files.Location`.
            return_unused_kwargs: return the keywords that are no fields beside the configuration instead of refusing them.
            **overrides: fields that replace the file's; and `revision`, `subfolder`, `cache_dir`, `token`,
                `local_files_only`, `force_download`, which say where to look.

        Raises:
            CheckpointNotFoundError, CorruptFileError, UnsafePathError: nothing is there, or it cannot be read.
            ConfigError: the file is for another class, or has wrong values. UnknownArgumentError: a keyword is no field.
        """
        name = getattr(pretrained_model_name_or_path, "name", pretrained_model_name_or_path)
        name = os.fspath(name) if isinstance(name, str | os.PathLike) else str(name)
        values, overrides = cls.get_config_dict(pretrained_model_name_or_path, **overrides)
        if cls.model_type and values.get("model_type") != cls.model_type:
            inner = [v for v in values.values() if isinstance(v, Mapping) and v.get("model_type") == cls.model_type]
            values = dict(inner[0]) if inner else values
        overrides.setdefault("name_or_path", name)
        config, unused = cls._from_file(values, overrides, f"the config of `{name}`")
        from .discovery import registry

        registry.notify("config_created", config=config)
        if return_unused_kwargs:
            return config, unused
        config._refuse_unknown(unused)
        return config

    @overload
    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], *, return_unused_kwargs: Literal[True], **overrides: Any) -> tuple[Self, dict[str, Any]]: ...
    @overload
    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], *, return_unused_kwargs: Literal[False] = False, **overrides: Any) -> Self: ...
    @classmethod
    def from_dict(
        cls, config_dict: Mapping[str, Any], *, return_unused_kwargs: bool = False, **overrides: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """From the values of a file: keys that the class does not know are kept. Keywords replace values."""
        config, unused = cls._from_file(config_dict, overrides, f"`{cls.__name__}`")
        if return_unused_kwargs:
            return config, unused
        config._refuse_unknown(unused)
        return config

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike[str]) -> Self:
        """From one JSON file."""
        return cls._from_file(_read(json_file), {}, f"`{os.fspath(json_file)}`")[0]

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values of a checkpoint's `config.json`, as they stand there, and the keywords that do not say where to look.

        Where there is none, an installed checkpoint format that carries the configuration inside (GGUF) supplies it.

        Raises: CheckpointNotFoundError, CorruptFileError, UnsafePathError
        """
        from .files import open_location

        if kwargs.pop("trust_remote_code", False):
            raise UnknownArgumentError(
                "`trust_remote_code=True` asks to run code from a checkpoint, which transept never does: an architecture is an "
                "installed package. Install its plugin, and drop the argument."
            )
        places = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download")
        options = {place: kwargs.pop(place) for place in places if place in kwargs}
        name = pretrained_model_name_or_path
        if isinstance(name, str | os.PathLike) and os.fspath(name).endswith(".json") and os.path.isfile(name):
            return _read(name), kwargs
        location = open_location(name, **options)
        path = location.fetch(FILE_NAME)
        return (_read(path) if path is not None else _carried_inside(location)), kwargs

    @classmethod
    def _from_file(cls, values: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> tuple[Self, dict[str, Any]]:
        made = cls.__new__(cls)
        public = {name: value for name, value in values.items() if not name.startswith("_") and name not in cls._in_memory}
        record = public.pop(RECORD_NAME, None) if isinstance(public.get(RECORD_NAME), Mapping) else None
        found = cls._field_names(copy.deepcopy(public), where)
        given = cls._field_names(overrides, "the keywords")
        unused = {name: given.pop(name) for name in list(given) if not (cls._takes(name) or name in found)}
        rope = {name: given.pop(name) for name in ROPE_NAMES if name in given} if cls._has_rope else {}
        if "num_labels" in given and "id2label" not in given and len(found.get("id2label") or ()) != given["num_labels"]:
            found = {name: value for name, value in found.items() if name not in ("id2label", "label2id")}
        for name, kind in cls.sub_configs.items():
            if isinstance(given.get(name), Mapping) and isinstance(found.get(name), Mapping):
                given[name] = kind.from_dict(found[name], **given[name])
        made._fill({**found, **given}, loaded=True, where=where, then=rope)
        if record is not None:
            object.__setattr__(made, "_made_with", record)
        return made, unused

    @classmethod
    def _field_names(cls, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The values under the names of fields. Two names of one field must not contradict each other."""
        made: dict[str, Any] = {}
        for key, value in values.items():
            name = cls._aliases.get(key, key)
            if made.get(name) is not None and value is not None and made[name] != value:
                raise ConfigError(f"{where}: `{key}` is another name of `{name}`, and the two differ: drop one.", field=name)
            if name not in made or value is not None:
                made[name] = value
        return made

    @classmethod
    def _refuse_unknown(cls, names: Iterable[str]) -> None:
        for name in names:
            known = [*cls.model_fields, *cls._aliases, "num_labels", *(ROPE_NAMES if cls._has_rope else ())]
            raise UnknownArgumentError(
                f"`{cls.__name__}` has no field `{name}`.{did_you_mean(name, known)} To keep a value of your own, assign it after "
                "the configuration is made.",
                argument=name,
            )


PreTrainedConfig = PretrainedConfig


@functools.cache
def _base_defaults() -> dict[str, Any]:
    return PretrainedConfig().to_dict()


def _other_name(field: str) -> property:
    def read(self: PretrainedConfig) -> Any:
        return getattr(self, field)

    def write(self: PretrainedConfig, value: Any) -> None:
        setattr(self, field, value)

    return property(read, write, doc=f"Another name of `{field}`.")


def _get_rope(key: str, default: Any = None) -> Callable[[PretrainedConfig], Any]:
    def read(self: Any) -> Any:
        rope = self.rope_parameters or {}
        if is_nested(rope):
            raise AttributeError(f"`{key}` differs by layer type: read `rope_parameters[layer_type]['{key}']`.")
        return rope.get(key, default)

    return read


def _set_rope_key(key: str) -> Callable[[PretrainedConfig, Any], None]:
    def write(self: Any, value: Any) -> None:
        rope = self.rope_parameters or {}
        if is_nested(rope):
            raise ConfigError(f"`{key}` differs by layer type: assign `rope_parameters` whole.", field=key)
        self.rope_parameters = {**rope, key: value}

    return write


def _agree(names: Mapping[int, str], ids: Mapping[str, int | str]) -> bool:
    return all(str(ids.get(label)) == str(number) for number, label in names.items())


def _config_error(error: ValidationError, where: str) -> ConfigError:
    """pydantic's complaints, field by field, in one sentence each."""
    words: dict[str, list[str]] = {}
    got: dict[str, str] = {}
    for one in error.errors(include_url=False):
        field = {"dtype_name": "dtype"}.get(str(one["loc"][0]), str(one["loc"][0]))
        place = "".join(f"[{part!r}]" for part in one["loc"][1:] if isinstance(part, int))
        cause = one.get("ctx", {}).get("error")
        text = str(cause) if cause is not None else one["msg"][:1].lower() + one["msg"][1:]
        words.setdefault(field, [])
        if f"{text}{place}" not in words[field]:
            words[field].append(f"{text}{' at ' + place if place else ''}")
        value = repr(one["input"])
        got.setdefault(field, f"{value if len(value) <= 80 else value[:77] + '...'} ({type(one['input']).__name__})")
    sentences = [f"`{field}` of {where}: {' or '.join(dict.fromkeys(texts))}, got {got[field]}." for field, texts in words.items()]
    return ConfigError(" ".join(sentences), fields_refused=tuple(words), field=next(iter(words)))


def _plain(value: Any) -> Any:
    """A copy of plain data: dtypes as names, configurations and tuples as dicts and lists."""
    if isinstance(value, PretrainedConfig):
        made = value.to_dict()
        made.pop("transformers_version", None)
        return made
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if _is_dtype(value):
        return _dtype_name(value)
    if callable(to_dict := getattr(value, "to_dict", None)):
        return _plain(to_dict())
    return copy.deepcopy(value)


_SPECIAL_FLOATS = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


def _dump(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    return json.dumps(_tag_floats(value), indent=2, sort_keys=True, default=default, allow_nan=False) + "\n"


def _tag_floats(value: Any) -> Any:
    if isinstance(value, float) and not abs(value) < float("inf"):
        return {"__float__": "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, dict):
        return {key: _tag_floats(one) for key, one in value.items()}
    return [_tag_floats(one) for one in value] if isinstance(value, list) else value


def _untag_floats(value: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        tag = value.get("__float__") if len(value) == 1 else None
        if isinstance(tag, str) and tag in _SPECIAL_FLOATS:
            return _SPECIAL_FLOATS[tag]
        return {key: _untag_floats(one, depth + 1) for key, one in value.items()}
    return [_untag_floats(one, depth + 1) for one in value] if isinstance(value, list) else value


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    from .files import read_json

    try:
        values = _untag_floats(read_json(path))
    except RecursionError:
        raise CorruptFileError(f"`{os.fspath(path)}` is nested more than {_DEEPEST} deep, which no configuration is.") from None
    if not isinstance(values, dict):
        raise CorruptFileError(f"`{os.fspath(path)}` holds no JSON object, so it is no configuration.", path=os.fspath(path))
    return values


def _carried_inside(location: Any) -> dict[str, Any]:
    """The configuration that a weight file carries, where the folder has no `config.json`."""
    from .discovery import load_object, registry

    names = location.names()
    readers = sorted((r for r in registry.records("checkpoints") if r.read_config), key=lambda record: -record.priority)
    for record in readers:
        if any(name.endswith(record.suffixes) for name in names):
            return dict(load_object(record.read_config, owner=record.key)(location))
    _nothing_found(location, [suffix for record in readers for suffix in record.suffixes])


def _nothing_found(location: Any, suffixes: list[str]) -> NoReturn:
    names = location.names()
    looked = f"`{FILE_NAME}`" + (f", and for files ending in {shorten(suffixes)}, which carry one inside" if suffixes else "")
    there = f"There are {shorten(names)}." if names else "Nothing is there."
    hint = " Files ending in `.gguf` are read by a plugin: pip install transept-gguf." if any(n.endswith(".gguf") for n in names) else ""
    raise CheckpointNotFoundError(f"`{location.name}` has no configuration: looked for {looked}. {there}{hint}", name=location.name)
