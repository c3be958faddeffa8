"""The typed records that plugins return.

A record is frozen data. It names classes and functions as lazy ``"module:Name"`` strings, so that a plugin module can
be imported, and its records read, without torch. An optional capability is an optional field: absent means "can't".
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "AdapterSpec",
    "AttentionKernelSpec",
    "CacheSpec",
    "CheckpointFormatSpec",
    "CommandSpec",
    "ConfigSpec",
    "DecodingSpec",
    "ExporterSpec",
    "LazyRef",
    "MetricSpec",
    "ModelSpec",
    "OptimizerSpec",
    "PipelineSpec",
    "PlacementSpec",
    "ProcessorSpec",
    "QuantizerSpec",
    "Record",
    "RewriteSpec",
    "SchedulerSpec",
    "SourceSpec",
    "TokenizerSpec",
]


def _check_lazy_ref(value: str) -> str:
    module, colon, name = value.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ValueError(f"`{value}` is not of the form 'package.module:Name'")
    return value


LazyRef = Annotated[str, AfterValidator(_check_lazy_ref)]
"""Where a class or function lives, as ``"package.module:Name"``; it is imported when it is first used."""

MaskKind = Literal["causal", "bidirectional", "prefix", "sliding_window", "chunk", "keep", "documents", "bias"]
"""What a mask may be made of; the first three say which keys a query sees, the others take some of those away."""

DTypeName = Literal["float64", "float32", "float16", "bfloat16"]


class Record(BaseModel):
    """What every plugin record has: the key under which it is found, and a line for people."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)

    key: str = Field(min_length=1, max_length=200)
    """Equals the entry point's name: a `model_type`, a kernel's name, a file format, …"""
    description: str = ""
    """One line for `transept plugins`."""


class ConfigSpec(Record):
    """A configuration class; the key is the `model_type`."""

    config: LazyRef
    """A `transept.PretrainedConfig` subclass."""


class ModelSpec(Record):
    """An architecture; the key is the `model_type`.

    What must be known before the model's code is imported stands here. What belongs to one class (ties between weights,
    modules that must not be split, the tensor-parallel plan) stands on the class, where a model built by hand finds it too.
    """

    config: LazyRef
    """The `transept.PretrainedConfig` subclass that the classes are built from."""
    tasks: dict[str, LazyRef]
    """One `transept.PreTrainedModel` subclass a task: `{"base": …, "causal_lm": …, "sequence_classification": …}`."""
    tokenizer: str | None = None
    """Key of the tokenizer that the family uses when the checkpoint does not name one."""
    processor: str | None = None
    """Key of the family's processor (feature extractor or image processor)."""
    key_maps: dict[str, LazyRef] = {}
    """For each checkpoint format whose tensor names differ from the model's: a `transept.checkpoints.KeyMap`, or a function
    from the config to one. For loads alone, in place of the class's `key_map`, which saving takes back."""


class TokenizerSpec(Record):
    """A tokenizer; the key is the `tokenizer_class` that checkpoints name."""

    tokenizer: LazyRef
    """A `transept.PreTrainedTokenizerBase` subclass, or any callable with its `from_pretrained(location, **kwargs)`."""
    files: tuple[str, ...] = ()
    """File name patterns (fnmatch) from which alone it can be built: `("tokenizer.json",)`."""
    priority: int = 0
    """Among backends that can read the files present, the highest serves."""


class AttentionKernelSpec(Record):
    """An attention kernel, and what it can do. The key is the name in `attn_implementation`."""

    kernel: LazyRef
    """`kernel(query, key, value, *, mask, scale, softcap, sinks, dropout, need_weights) -> (output, weights | None)`."""
    masks: frozenset[MaskKind]
    """Mask kinds that it honours, alone and together."""
    dtypes: frozenset[DTypeName] = frozenset({"float64", "float32", "float16", "bfloat16"})
    devices: frozenset[str] | None = None
    """torch device types; None: any."""
    head_dims: tuple[int, ...] | None = None
    """Head dims that it can serve; None: any."""
    max_head_dim: int | None = None
    gqa: bool = True
    """Fewer key/value heads than query heads."""
    dropout: bool = False
    weights: bool = False
    """Returns the attention probabilities."""
    softcap: bool = False
    sinks: bool = False
    training: bool = True
    """Gradients flow through it."""
    paged: bool = False
    """Reads keys and values from a paged cache."""
    requires: LazyRef | None = None
    """A function without arguments: None when the kernel can run on this machine, else one line saying why it can't."""
    priority: int = 0
    """For `attn_implementation="auto"`: among kernels that serve the request the highest is taken."""


class QuantizerSpec(Record):
    """A quantization method; the key is `quant_method` in a checkpoint's `quantization_config`."""

    config: LazyRef
    """Class of the quantization config; built from the checkpoint's dict or by the user."""
    rewrite: LazyRef
    """A function from that config and the model's config to the rewrite that quantizes (`transept.quantization.Quantizer`), or a list
    of several."""
    presets: dict[str, dict[str, str | int | float | bool | None]] = Field(default_factory=dict)
    """Short names that may stand for a config (`nf4`), each with the config's keywords."""
    calibrate: LazyRef | None = None
    """`calibrate(linear, config) -> Calibration`, for a method that learns from data: `add(inputs)` is called with what the layer is
    given, (rows, in_features), then `finish()` returns the built module's tensors. Absent: it quantizes without data."""
    training: bool = False
    """Adapters can be trained on top of the quantized modules."""
    serializable: bool = True


class AdapterSpec(Record):
    """A library of adapters; the key is its name: `peft`."""

    adapters: LazyRef
    """`adapters(model)` keeps the model's adapters: an object with `add`, `load`, `set`, `enable`, `disable`, `delete`, `merge`, `active`,
    `state_dict` and `save`, as `transept.adapters.AdapterMixin` calls them."""


class CheckpointFormatSpec(Record):
    """A file format that weights come in; the key is its name: `safetensors`, `gguf`."""

    open: LazyRef
    """`open(location, *, mmap=True) -> CheckpointReader` (see `transept.checkpoints`)."""
    suffixes: tuple[str, ...]
    """Endings of the weight files, with the dot: `(".safetensors",)`; or, without one in front, whole names: `("model.bin",)`."""
    read_config: LazyRef | None = None
    """`read_config(location) -> dict` in config.json's terms, for formats that carry the config inside. It is asked where there is no
    config.json, or one without a `model_type`."""
    key_map: LazyRef | None = None
    """`key_map(config) -> KeyMap | None`: the format's own names for architectures it knows. A model's record comes first."""
    write: LazyRef | None = None
    """`write(model, path, *, tokenizer=None)`: one file that holds configuration and tokenizer too; absent: read only."""
    packed: LazyRef | None = None
    """`packed(reader, model, names) -> list of rewrites`, asked where nobody wants floats: rewrites that keep the file's own packing,
    for the model that is on `meta`; `names` leads from the checkpoint's names to the model's. What `reader` then reads is packed."""
    priority: int = 0
    """Where a folder holds several formats, the highest is read."""


class SourceSpec(Record):
    """A place that checkpoints come from."""

    open: LazyRef
    """`open(name, **options) -> Location | None`: None when the name isn't one of this source's."""
    scheme: str | None = None
    """The prefix that chooses it, without the colon: `pypi` for `pypi:NAME`. None: it is asked in the order of `order`."""
    order: int = 0
    """Sources without a scheme are asked from the lowest to the highest."""


class RewriteSpec(Record):
    """A change of modules: quantize, pack, fuse, shard, adapt (see `transept.rewrite`)."""

    rewrite: LazyRef
    """A function from the model's config (and options) to a `transept.rewrite.Rewrite`."""
    order: int = 0
    """Rewrites compose from the lowest to the highest."""
    undoable: bool = False
    """It can be taken back on a live model: it has `revert`."""
    ties: Literal["keep", "break", "refuse"] = "keep"
    """What it does to tied parameters: they stay one tensor, become two, or such a model is refused."""
    automatic: LazyRef | None = None
    """A function `(model, device) -> str | None`, asked at each load: None when the rewrite is to be applied without being
    asked for, else one line saying why not. The model is on `meta`; the device is None where there are several. For what changes
    no name, no stored tensor and no result beyond rounding. Absent: only when it is asked for."""


class CacheSpec(Record):
    """A key/value cache; the key is the name in `cache_implementation`."""

    cache: LazyRef
    """A function `(config, *, max_cache_len, batch_size, device, dtype, **cache_config)` to a `transept.Cache`."""
    fixed_size: bool = False
    """It must know its final length when it is made."""
    endless: bool = False
    """With it, text may go on past the model's context: no query looks back further than that. Its class says so as well."""


class DecodingSpec(Record):
    """A decoding strategy: greedy, sampling, beam search, speculative, …"""

    decode: LazyRef
    """`decode(session) -> GenerateOutput` (see `transept.generation`)."""
    arguments: tuple[str, ...] = ()
    """Names of `generate` arguments that only this strategy understands."""


class PipelineSpec(Record):
    """A task that `pipeline(task)` serves."""

    pipeline: LazyRef
    """A class that is called as `transept_pipelines.Pipeline` is; in general a subclass of it."""
    task: str
    """The model task it is built on: `causal_lm`, `sequence_classification`, …; `base` for a model without a head."""
    aliases: tuple[str, ...] = ()
    """Other names that `pipeline` takes, or patterns of them (fnmatch): `translation_*_to_*`. A name that also has an entry point,
    and a record, is found without asking the other plugins."""


class ProcessorSpec(Record):
    """A feature extractor, image processor or a processor that joins several."""

    processor: LazyRef
    kind: Literal["feature_extractor", "image_processor", "processor"]


class OptimizerSpec(Record):
    """An optimizer by name."""

    optimizer: LazyRef
    """`optimizer(params, *, lr, weight_decay, **options) -> torch.optim.Optimizer`."""
    aliases: tuple[str, ...] = ()


class SchedulerSpec(Record):
    """A learning-rate schedule by name."""

    scheduler: LazyRef
    """`scheduler(optimizer, *, num_warmup_steps, num_training_steps, **options)`."""
    aliases: tuple[str, ...] = ()


class MetricSpec(Record):
    """A metric by name: `accuracy`, `rouge`, …"""

    metric: LazyRef
    """`metric(predictions, references, **options) -> dict[str, float]`: one or several numbers by name."""
    inputs: Literal["labels", "scores", "logits", "values", "tags", "texts"]
    """What the two are. `labels`: class numbers (n,), or 0 and 1 (n, classes). `scores`: probabilities (n, classes), and labels.
    `logits`: (n, seq, vocab), and the tokens' labels (n, seq), with -100 where none counts. `values`: numbers (n,) or (n, outputs).
    `tags`: a list of names for each of n sequences. `texts`: n strings, and for each the reference, or a list of them."""
    greater_is_better: bool = True
    """False: a loss or an error, of which less is better."""


class ExporterSpec(Record):
    """A format that models are exported to: `onnx`, …"""

    export: LazyRef
    """`export(model, folder, *, cache=None, quantize=None, opset_version=None, tolerance, tokenizer=None) -> report`: writes a loaded
    model, checks what it wrote against the model, and returns what `str` turns into words. A keyword that means nothing to the
    format is refused where it is not None."""
    suffix: str
    """Of the files: `.onnx`."""


class PlacementSpec(Record):
    """Spreads a model over devices: several accelerators, CPU and disk offload."""

    plan: LazyRef
    """`plan(model, device_map, *, max_memory, dtype, offload_folder) -> transept.checkpoints.Placement`; the model is on `meta`."""


class CommandSpec(Record):
    """A subcommand of `transept`."""

    command: LazyRef
    """A typer-style function, or a `typer.Typer` for a group of them."""
    help: str
    """The line in `transept --help`."""
