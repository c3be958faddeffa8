"""From a place and a configuration to a model that is filled: the order in which the rooms are asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from ..discovery import load_object, registry
from ..errors import CheckpointNotFoundError, InputError, UnknownArgumentError
from ..files import weight_files
from ..rewrite import Rewrite, automatic_rewrites, make_rewrite
from .key_map import KeyMap
from .meta import on_meta
from .names import destinations
from .placement import Placement, choose_placement
from .reader import CheckpointReader, MappingReader
from .stream import load_checkpoint

if TYPE_CHECKING:
    from ..files import Location

__all__ = ["LoadOptions", "load_pretrained", "open_checkpoint"]


@dataclass
class LoadOptions:
    """Every keyword of `from_pretrained` that is not a field of the configuration."""

    dtype: torch.dtype | str | None = None
    """Floating parameters are cast to it; None and "auto" keep what the checkpoint has."""
    torch_dtype: torch.dtype | str | None = None
    """Older spelling of `dtype`."""
    device_map: str | int | torch.device | Mapping[str, Any] | None = None
    """A device; "auto": the accelerator if all fits there, else the CPU; a mapping or more devices need `transept-accelerate`."""
    max_memory: Mapping[Any, int | str] | None = None
    offload_folder: str | os.PathLike[str] | None = None
    attn_implementation: str | Mapping[str, str] | None = None
    quantization_config: Any = None
    rewrites: Sequence[str | Rewrite] = ()
    """Rewrites to apply while loading, by key or your own."""
    key_map: KeyMap | None = None
    """From the names in the files to those that the family's files have, where somebody renamed tensors."""
    automatic_rewrites: bool = True
    """Also apply the installed rewrites that offer themselves (`RewriteSpec.automatic`)."""
    strict: bool = True
    """False: missing and unexpected tensors are reported, not refused."""
    ignore_mismatched_sizes: bool = False
    """Initialise task heads whose shape differs from the checkpoint's, and report them."""
    state_dict: Mapping[str, torch.Tensor] | None = None
    format: str | None = None
    """Checkpoint format by key, where a folder holds several."""
    variant: str | None = None
    mmap: bool = True
    """False: read the file up front instead of mapping it."""
    progress: Any = None
    """`progress(done_bytes, total_bytes)`."""
    revision: str | None = None
    subfolder: str = ""
    cache_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = None
    local_files_only: bool = False
    force_download: bool = False
    gguf_file: str | None = None
    """The one weight file to read, where a place holds several; the peer's name for it."""
    use_safetensors: bool | None = None
    low_cpu_mem_usage: bool | None = None
    """Accepted from older code: loading never holds the model twice."""
    trust_remote_code: bool = False

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls))

    @classmethod
    def split(cls, arguments: Mapping[str, Any]) -> tuple[LoadOptions, dict[str, Any]]:
        """The options among the arguments, and what is left: overrides of the configuration."""
        names = cls.names()
        options = cls(**{name: value for name, value in arguments.items() if name in names})
        if options.trust_remote_code:
            raise UnknownArgumentError(
                "`trust_remote_code=True` asks to run code from a checkpoint, which transept never does: an architecture is an "
                "installed package. Install the plugin for this architecture, and drop the argument."
            )
        if options.use_safetensors is False:
            raise UnknownArgumentError(
                "`use_safetensors=False` asks for pickled weights, which transept does not read. Convert them."
            )
        options.dtype = cls.one_dtype(options.dtype, options.torch_dtype)
        cls.parse_dtype(options.dtype)
        return options, {name: value for name, value in arguments.items() if name not in names}

    def location(self) -> dict[str, Any]:
        """The keywords that `open_location` takes."""
        names = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download")
        return {**{name: getattr(self, name) for name in names}, "file": self.gguf_file}

    @staticmethod
    def one_dtype(dtype: Any, torch_dtype: Any) -> Any:
        """The one that was given, of both spellings."""
        if dtype is not None and torch_dtype is not None and dtype != torch_dtype:
            raise InputError(f"`dtype={dtype!r}` and its older spelling `torch_dtype={torch_dtype!r}` differ: give one.")
        return dtype if dtype is not None else torch_dtype

    @staticmethod
    def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
        """A floating torch dtype, from itself or its name; None for None and "auto"."""
        if dtype is None or dtype == "auto":
            return None
        found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
        if not isinstance(found, torch.dtype) or not found.is_floating_point:
            raise InputError(
                f'`dtype={dtype!r}` is no floating-point dtype: use torch.float32, torch.float16, torch.bfloat16, a name of one, or "auto".'
            )
        return found


def open_checkpoint(location: Location, options: LoadOptions) -> tuple[CheckpointReader, Any]:
    """The reader for the weights at a location, and the record of the format that serves it."""
    names = location.names()
    if options.format is not None:
        records = [registry.get("checkpoints", options.format)]
    else:
        records = sorted(registry.records("checkpoints"), key=lambda record: -record.priority)
    for record in records:
        if weight_files(names, record.suffixes):
            extra = {"variant": options.variant} if options.variant is not None else {}
            opened = load_object(record.open, owner=record.key)(location, mmap=options.mmap, **extra)
            return opened, record
    suffixes = sorted({suffix for record in records for suffix in record.suffixes})
    pickled = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickled:
        raise CheckpointNotFoundError(
            f"`{location.name}` holds pickled weights (`{pickled[0]}`), which can run code when read: transept does not open them. "
            f"Convert them to safetensors first."
        )
    hint = " Install the reader: pip install transept-gguf." if any(name.endswith(".gguf") for name in names) else ""
    raise CheckpointNotFoundError(
        f"`{location.name}` holds no weights: looked for files ending in {', '.join(suffixes)}.{hint}"
    )


def load_pretrained(model_class: Any, config: Any, location: Location | None, options: LoadOptions) -> Any:
    """Build `model_class(config)` on `meta`, change what rewrites change, and fill it from the checkpoint."""
    if options.attn_implementation is not None:
        config.attn_implementation = options.attn_implementation
    reader: Any
    if options.state_dict is not None:
        reader, record = MappingReader(options.state_dict), None
    else:
        assert location is not None
        reader, record = open_checkpoint(location, options)
    with reader:
        dtype = LoadOptions.parse_dtype(options.dtype) or config.dtype or _stored_dtype(reader)
        rewrites = [*_quantizers(options, config), *(make_rewrite(r, config) for r in options.rewrites)]
        with on_meta():
            model = model_class(config)
        placement: Placement = choose_placement(model, options, dtype)
        key_map = _then(options.key_map, _key_map(model, record))
        if record is not None and record.packed is not None and _keeps_blocks(options, config):
            rewrites += load_object(record.packed, owner=record.key)(reader, model, destinations(model, reader, key_map))
        if options.automatic_rewrites:
            rewrites += automatic_rewrites(
                model, None if placement.device_of else placement.device, without=[rewrite.key for rewrite in rewrites]
            )
        report = load_checkpoint(
            model,
            reader,
            key_map=key_map,
            rewrites=rewrites,
            dtype=dtype,
            device=placement.device,
            device_of=placement.device_of,
            place=placement.place,
            strict=options.strict,
            ignore_mismatched_sizes=options.ignore_mismatched_sizes,
            progress=options.progress,
        )
    report.source = location.source if location is not None else "state_dict"
    model.load_report = report
    model.eval()
    placement.finish(model)
    model.config.dtype = dtype  # the model may hold a configuration of its own
    if location is not None:
        model.name_or_path = model.config.name_or_path = location.name
    return model


def _stored_dtype(reader: Any) -> torch.dtype:
    dtypes = (ref.dtype for ref in reader.tensors.values() if ref.dtype is not None)
    # floats of one byte are packed weights: nothing computes in them
    return next((dtype for dtype in dtypes if dtype.is_floating_point and dtype.itemsize > 1), torch.float32)


def _then(first: KeyMap | None, second: KeyMap | None) -> KeyMap | None:
    return KeyMap([*first.operations, *(second.operations if second else ())]) if first is not None else second


def _key_map(model: Any, record: Any) -> Any:
    """The map from the format's names to the model's: the architecture's for this format, else the format's, else the class's.

    A state dict has the model's own names.
    """
    if record is None:
        return None
    config = model.config
    spec = registry.find("models", config.model_type)
    if spec is not None and record.key in spec.key_maps:
        found = load_object(spec.key_maps[record.key], owner=config.model_type)
        return found(config) if callable(found) else found
    return load_object(record.key_map, owner=record.key)(config) if record.key_map is not None else model.key_map


def _quantizers(options: LoadOptions, config: Any) -> list[Rewrite]:
    if options.quantization_config is None and config.quantization_config is None:
        return []
    from ..quantization import chosen_quantizers

    return chosen_quantizers(options.quantization_config, config)


def _keeps_blocks(options: LoadOptions, config: Any) -> bool:
    """Whether the file's own packing is to stay: nobody asked for floats, or for another packing."""
    return LoadOptions.parse_dtype(options.dtype) is None and config.quantization_config is None
