"""`PretrainedConfig`: what a checkpoint's `config.json` says, as checked data.

A family's configuration is a subclass that declares its fields; types and ranges are checked when a value is given, at
construction and at assignment. Rules between fields are checked on construction, on copies, and by `validate_config()`,
which building a model and saving call: a legal change may so take two assignments. `config.json` is data: no string in it
is imported, fetched or run; it can only select among what is installed.
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, Self, overload

from pydantic import BaseModel, ConfigDict, ValidationError

from .config_fields import AnyQuantization, Count, DTypeName, LabelNames, Probability, Size, Strings, TokenIds, config_error
from .config_file import FILE_NAME, RECORD_NAME, dump, made_by, plain, read_config, read_file, to_json
from .config_labels import follow_labels, settle_labels
from .discovery import registry
from .errors import ConfigError, SaveError, UnknownArgumentError, did_you_mean
from .files import atomic_write_text, open_location
from .rope_parameters import (
    ROPE_NAMES,
    ROPE_TYPES,
    check_factors,
    check_rope,
    each_rope,
    is_nested,
    normalize_rope,
    rope_given,
    warn_of_unread,
)

__all__ = ["Count", "PreTrainedConfig", "PretrainedConfig", "Probability", "Size", "TokenIds"]

_PLACES = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download")
"""Keywords that say where to look for a checkpoint."""


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
    decoder_fields: ClassVar[dict[str, str]] = {}
    """Of an encoder-decoder in one configuration: the encoder's fields, and beside each the decoder's."""
    default_theta: ClassVar[float] = 10000.0
    default_partial_rotary_factor: ClassVar[float | None] = None
    rope_types: ClassVar[frozenset[str]] = frozenset(ROPE_TYPES)
    """The rope types that code may ask for; a family with a type of its own adds it."""

    architectures: Strings = None
    transformers_version: str | None = None
    dtype_name: DTypeName = None
    """The dtype's name, `dtype` in files and in Python (there a `torch.dtype`)."""
    output_hidden_states: bool | None = False
    output_attentions: bool | None = False
    return_dict: bool | None = True
    chunk_size_feed_forward: Count = 0
    is_encoder_decoder: bool = False
    is_decoder: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True
    id2label: LabelNames = None
    label2id: dict[str, int | str] | None = None
    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = None
    pad_token_id: int | None = None
    bos_token_id: TokenIds = None
    eos_token_id: TokenIds = None
    decoder_start_token_id: TokenIds = None
    quantization_config: AnyQuantization = None
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
            if alias in cls.model_fields or field not in (*cls.model_fields, *ROPE_NAMES):
                raise TypeError(f"`{cls.__name__}.attribute_map`: `{alias}` must not be a field, and `{field}` must be one.")
            setattr(cls, alias, _other_name(field))
        cls._has_rope = "rope_parameters" in cls.model_fields
        if cls._has_rope:
            setattr(cls, "rope_theta", _rope_key("rope_theta"))  # noqa: B010
            setattr(cls, "rope_scaling", _other_name("rope_parameters"))  # noqa: B010
            if "partial_rotary_factor" not in cls.model_fields:
                setattr(cls, "partial_rotary_factor", _rope_key("partial_rotary_factor", 1.0))  # noqa: B010

    def __init__(self, /, **values: Any) -> None:
        where = f"`{type(self).__name__}`"
        named = type(self)._field_names(values, where)
        self._refuse_unknown(name for name in named if not self._takes(name))
        self._fill(named, where, loaded=False, labels_loaded=False)

    def _fill(
        self, values: dict[str, Any], where: str, *, loaded: bool, labels_loaded: bool, then: Mapping[str, Any] | None = None
    ) -> None:
        """Set every field. `loaded` values come from a file (`where`), and may have keys that the class does not know;
        `then` holds rotary parameters that come after the file's."""
        cls = type(self)
        model_type, count = values.pop("model_type", None), values.pop("num_labels", None)
        if cls.model_type and model_type not in (None, "", cls.model_type):
            raise ConfigError(
                f"{where[:1].upper() + where[1:]} has `model_type` {model_type!r}, and `{cls.__name__}` is for `{cls.model_type}`. "
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
            raise config_error(error, where) from None
        if model_type and not cls.model_type:
            object.__setattr__(self, "model_type", str(model_type))
        given = set(self.model_fields_set)
        self.__dict__.update(settle_labels(self.id2label, self.label2id, count, loaded=labels_loaded, where=where))
        if cls._has_rope:
            self._fill_rope(rope or self.__dict__["rope_parameters"] or {}, where, types=None if loaded else self.rope_types)
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
        for _, inner in self._inner_configs():
            inner.validate_config()

    def _fill_rope(self, given: Mapping[str, Any], where: str, types: Collection[str] | None) -> None:
        current = self.__dict__.get("rope_parameters")
        flat = current if current and not is_nested(current) else {}
        rope = normalize_rope(
            given,
            theta=flat.get("rope_theta") or self.default_theta,
            partial=self.__dict__.get(
                "partial_rotary_factor", flat.get("partial_rotary_factor", self.default_partial_rotary_factor)
            ),
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
            raise ConfigError(
                f"`{name}` belongs to the class `{cls.__name__}`, and is not set on one configuration.", field=name
            )
        else:
            self._extra[name] = value

    def _assign(self, name: str, value: Any) -> None:
        """Set a field, and the fields that must go with it; a refused value changes nothing."""
        where = f"`{type(self).__name__}`"
        if name == "rope_parameters" and (value is None or isinstance(value, Mapping)):
            # the type in use may come from a file, and not be known here
            in_use = {str(one.get("rope_type")) for _, one in each_rope(self.__dict__["rope_parameters"])}
            self._fill_rope(value or {}, where, self.rope_types | in_use)
            self.__pydantic_fields_set__.add(name)
            return
        if name in self.sub_configs and isinstance(value, Mapping):
            value = self.sub_configs[name](**value)
        # validated on a stand-in: pydantic would take private attributes for unknown fields, and keep a half-done assignment
        stand_in = type(self).model_construct()
        stand_in.__dict__.update({field: self.__dict__[field] for field in type(self).model_fields})
        try:
            self.__pydantic_validator__.validate_assignment(stand_in, name, value)
        except ValidationError as error:
            raise config_error(error, where) from None
        self.__dict__[name] = stand_in.__dict__[name]
        self.__pydantic_fields_set__.add(name)
        if name in ("id2label", "label2id"):
            self.__dict__.update(follow_labels(self.id2label, self.label2id, name))
        elif name == "attn_implementation" and not isinstance(value, Mapping):
            for _, inner in self._inner_configs():
                inner.attn_implementation = value

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

    @property
    def num_labels(self) -> int:
        """Number of labels; assigning another number names the labels anew."""
        return len(self.id2label or ())

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        if isinstance(count, bool) or count != self.num_labels:
            self.__dict__.update(settle_labels(None, None, count, loaded=False, where=f"`{type(self).__name__}`"))

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PretrainedConfig:
        """The configuration of the text model: an inner one of a composite configuration, else this one; for the decoder alone
        one that has its `decoder_fields`, as caches are made by it."""
        wanted = ("text_config", "text_encoder") if encoder else ("decoder", "generator", "text_config")
        inner = (self.get(name) for name in wanted)
        outer = self
        if decoder and not encoder and any(self.get(name) != self.get(own) for name, own in self.decoder_fields.items()):
            outer = self.copy_with(**{name: self.get(own) for name, own in self.decoder_fields.items()})
        return next((found for found in inner if isinstance(found, PretrainedConfig)), outer)

    def _inner_configs(self) -> list[tuple[str, PretrainedConfig]]:
        inner = ((name, getattr(self, name, None)) for name in self.sub_configs)
        return [(name, config) for name, config in inner if isinstance(config, PretrainedConfig)]

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
        if name in self._extra:
            return self._extra[name]
        return getattr(self, name, default) if self._takes(type(self)._aliases.get(name, name)) else default

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
        changed = super().__copy__()
        for name, value in values.items():
            setattr(changed, name, value)
        for part in ("__dict__", "__pydantic_extra__", "__pydantic_fields_set__"):
            object.__setattr__(self, part, getattr(changed, part))

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
        return f"{type(self).__name__} {dump(self.to_diff_dict(), default=repr)}"

    __str__ = __repr__

    # -- writing -----------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Every value under its public name, copied; dtypes are names, inner configurations dicts."""
        made = {name: plain(value) for name, value in self._items()}
        for name, inner in self._inner_configs():
            made[name] = {key: value for key, value in inner.to_dict().items() if key != "transformers_version"}
        if self.model_type:
            made["model_type"] = self.model_type
        return made

    def to_diff_dict(self) -> dict[str, Any]:
        """`to_dict` without those common fields that have the base class's default: what is written to files."""
        base = _base_defaults()
        own = {
            name
            for kind in type(self).__mro__
            if kind is not PretrainedConfig
            for name in vars(kind).get("__annotations__", ())
        }
        made = {n: v for n, v in self.to_dict().items() if n not in base or n in own - {"dtype_name"} or v != base[n]}
        for name, inner in self._inner_configs():
            made[name] = {key: value for key, value in inner.to_diff_dict().items() if key != "transformers_version"}
        return made

    def to_json_string(self, use_diff: bool = True) -> str:
        """JSON with sorted keys. Infinity and NaN are written as `{"__float__": …}`, as the peer does.

        Raises: ConfigError: a value cannot be JSON; the message names its key.
        """
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return to_json(values, f"`{type(self).__name__}`")

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write `to_json_string()` to a file, atomically."""
        atomic_write_text(json_file_path, self.to_json_string(use_diff=use_diff))

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write `config.json` into the folder, atomically, with the versions of transept and of the plugins that serve it.

        Raises: ConfigError: the values do not fit together; SaveError: it cannot be written, and the old file still stands.
        """
        self.validate_config()
        record = made_by(self.model_type, self.quantization_config)
        text = to_json({**self.to_diff_dict(), RECORD_NAME: record}, f"`{type(self).__name__}`")
        try:
            os.makedirs(save_directory, exist_ok=True)
        except OSError as error:
            raise SaveError(f"`{os.fspath(save_directory)}` cannot be made a folder: {error}. Save somewhere else.") from error
        atomic_write_text(os.path.join(save_directory, FILE_NAME), text)

    # -- reading -----------------------------------------------------------------------------------------------------------

    @overload
    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *, return_unused_kwargs: Literal[True], **overrides: Any
    ) -> tuple[Self, dict[str, Any]]: ...
    @overload
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **overrides: Any) -> Self: ...
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
        config, unused = cls._from_file(values, overrides, f"the config of `{name}`", refuse=not return_unused_kwargs)
        registry.notify("config_created", config=config)
        return (config, unused) if return_unused_kwargs else config

    @overload
    @classmethod
    def from_dict(
        cls, config_dict: Mapping[str, Any], *, return_unused_kwargs: Literal[True], **overrides: Any
    ) -> tuple[Self, dict[str, Any]]: ...
    @overload
    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], **overrides: Any) -> Self: ...
    @classmethod
    def from_dict(
        cls, config_dict: Mapping[str, Any], *, return_unused_kwargs: bool = False, **overrides: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """From the values of a file: keys that the class does not know are kept. Keywords replace values."""
        config, unused = cls._from_file(config_dict, overrides, f"`{cls.__name__}`", refuse=not return_unused_kwargs)
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike[str]) -> Self:
        """From one JSON file."""
        return cls._from_file(read_file(json_file), {}, f"`{os.fspath(json_file)}`")[0]

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values of a checkpoint's `config.json`, as they stand there, and the keywords that do not say where to look.

        Where there is none, an installed checkpoint format that carries the configuration inside (GGUF) supplies it.

        Raises: CheckpointNotFoundError, CorruptFileError, UnsafePathError
        """
        if kwargs.pop("trust_remote_code", False):
            raise UnknownArgumentError(
                "`trust_remote_code=True` asks to run code from a checkpoint, which transept never does: an architecture is an "
                "installed package. Install its plugin, and drop the argument."
            )
        options = {place: kwargs.pop(place) for place in _PLACES if place in kwargs}
        name = pretrained_model_name_or_path
        if isinstance(name, str | os.PathLike) and os.fspath(name).endswith(".json") and os.path.isfile(name):
            return read_file(name), kwargs
        return read_config(open_location(name, **options)), kwargs

    @classmethod
    def _from_file(
        cls, values: Mapping[str, Any], overrides: Mapping[str, Any], where: str, *, refuse: bool = True
    ) -> tuple[Self, dict[str, Any]]:
        """The configuration, and the overrides that are no fields, where those are not refused."""
        public = {name: value for name, value in values.items() if not name.startswith("_") and name not in cls._in_memory}
        record = public.pop(RECORD_NAME, None) if isinstance(public.get(RECORD_NAME), Mapping) else None
        found = cls._field_names(copy.deepcopy(public), where)
        given = cls._field_names(overrides, "the keywords")
        unused = {name: given.pop(name) for name in list(given) if not (cls._takes(name) or name in found)}
        cls._refuse_unknown(unused if refuse else ())
        rope = {name: given.pop(name) for name in ROPE_NAMES if name in given} if cls._has_rope else {}
        labels = {name: given[name] for name in ("num_labels", "id2label", "label2id") if given.get(name) is not None}
        replaced = bool(labels) and labels != {"num_labels": len(found.get("id2label") or ())}
        if replaced:  # the file's, all three of them
            found = {name: value for name, value in found.items() if name not in ("num_labels", "id2label", "label2id")}
        for name, kind in cls.sub_configs.items():
            if isinstance(given.get(name), Mapping) and isinstance(found.get(name), Mapping):
                given[name] = kind.from_dict(found[name], **given[name])
        made = cls.__new__(cls)
        made._fill({**found, **given}, where, loaded=True, labels_loaded=not replaced, then=rope)
        if record is not None:
            object.__setattr__(made, "_made_with", record)
        return made, unused

    @classmethod
    def _field_names(cls, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The values under the names of fields. Two names of one field must not contradict each other."""
        made: dict[str, Any] = {}
        stated: dict[str, str] = {}
        for key, value in values.items():
            name = cls._aliases.get(key, key)
            if made.get(name) is not None and value is not None and made[name] != value:
                raise ConfigError(f"`{stated[name]}` and `{key}` of {where} are one field, and differ: drop one.", field=name)
            if name not in made or value is not None:
                made[name], stated[name] = value, key
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


for _name, _field in PretrainedConfig._aliases.items():
    if _name != "dtype":
        setattr(PretrainedConfig, _name, _other_name("dtype" if _field == "dtype_name" else _field))


def _rope_key(key: str, default: Any = None) -> property:
    def read(self: Any) -> Any:
        rope = self.rope_parameters or {}
        if is_nested(rope):
            raise AttributeError(f"`{key}` differs by layer type: read `rope_parameters[layer_type]['{key}']`.")
        return rope.get(key, default)

    def write(self: Any, value: Any) -> None:
        rope = self.rope_parameters or {}
        if is_nested(rope):
            raise ConfigError(f"`{key}` differs by layer type: assign `rope_parameters` whole.", field=key)
        self.rope_parameters = {**rope, key: value}

    return property(read, write)
