"""From a model to a GGUF file: metadata, tokenizer and tensors, packed ones bit for bit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transept.errors import CorruptFileError, SaveError, shorten
from transept.files import atomic_file
from transept.rewrite import applied_to, saved_tensors

from .architectures import ARCHITECTURES, Architecture
from .blocks import BLOCK_TYPES, BlockType, kind_of
from .description import describe, differences, frequency_factors, token_ids
from .files import GGUFModel
from .names import key_map
from .packed import GGUFEmbedding, GGUFLinear
from .reader import DEFAULT_ALIGNMENT, TensorInfo
from .vocabulary import describe_tokenizer, is_the_files
from .writer import TensorEntry, string, uint32, write_file

__all__ = ["write_gguf"]

Lazy = Tensor | Callable[[], Tensor]

_FACTORS = "rope_freqs.weight"
_FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 12, "Q4_K": 15, "Q5_K": 17,
    "Q6_K": 18, "BF16": 32,
}  # fmt: skip
"""`general.file_type` by the type that most matrices have: llama.cpp's `llama_ftype`, the middle one of K-quants."""
_QUANTIZATION_VERSION = 2
_FLOATS = {kind.dtype: kind for kind in BLOCK_TYPES.values() if kind.dtype is not None}


def write_gguf(
    model: Any, path: str | os.PathLike[str], *, tokenizer: Any = None, source: str | os.PathLike[str] | None = None
) -> None:
    """Write a model as one GGUF file.

    Packed modules leave as the blocks that they are, other matrices in their dtype, vectors as float32. What the file that the
    model came from says (metadata, tokenizer) is kept, where it still says the truth; the rest is said from the configuration.

    Args:
        model: a causal language model of an architecture that GGUF has a name for here.
        path: the file; one that is there is replaced whole.
        tokenizer: described in the file. None: the source's own; without a source the file has none, and llama.cpp does not
            run it.
        source: the GGUF file (or first part of it) that metadata and tokenizer are kept from. None: the one that the model
            was loaded from, if it was.

    Raises:
        SaveError: GGUF cannot say what the model is: another architecture, a task head, fields of the configuration, weights
            packed by another quantizer; or the disk is full, …. What stood at `path` still stands.
        TokenizerError: see `describe_tokenizer`.
    """
    row = _architecture(model)
    origin = _origin(model, source)
    with torch.no_grad():
        tensors = list(_tensors(model, row, origin))
        pairs = _metadata(model, row, origin, tensors, tokenizer)
        alignment = (
            int(origin.metadata.get("general.alignment", DEFAULT_ALIGNMENT)) if origin is not None else DEFAULT_ALIGNMENT
        )
        target = Path(path)
        with atomic_file(target) as temporary:
            write_file(temporary, pairs, tensors, alignment)
            _check(model, temporary, target)


def _architecture(model: Any) -> Architecture:
    row = next((one for one in ARCHITECTURES.values() if one.model_type == model.config.model_type), None)
    if row is None or type(model).__name__ != row.causal_lm:
        known = [one.causal_lm for one in ARCHITECTURES.values()]
        raise SaveError(
            f"`{type(model).__name__}` cannot be written as GGUF; these can: {shorten(known, len(known))}. Save it as safetensors: "
            "`save_pretrained`."
        )
    foreign = next((one for one in applied_to(model) if one.rewrite.packs and one.key != "gguf"), None)
    if foreign is not None:
        raise SaveError(
            f"`{foreign.path}` is packed by `{foreign.key}`, which GGUF has no blocks for: `dequantize()` the model first, or save "
            "it as safetensors."
        )
    return row


def _origin(model: Any, source: str | os.PathLike[str] | None) -> GGUFModel | None:
    """The GGUF file that the model came from, open."""
    report = getattr(model, "load_report", None)
    files = report.files if report is not None and report.format == "gguf" else ()
    if source is not None:
        files = (os.fspath(source),)
    if not files:
        return None
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        raise SaveError(
            f"`{missing[0]}`, which the model was loaded from, is not there any more, and metadata and tokenizer are kept from it: "
            "pass `source=` and the file's new place."
        )
    origin = GGUFModel.of(files)
    theirs = origin.metadata.get("general.architecture")
    if theirs not in ARCHITECTURES or ARCHITECTURES[theirs].model_type != model.config.model_type:
        raise SaveError(f"`{origin.path}` is a `{theirs}`, and the model a `{model.config.model_type}`: pass another `source`.")
    return origin


# -- tensors -----------------------------------------------------------------------------------------------------------


def _tensors(model: Any, row: Architecture, origin: GGUFModel | None) -> Iterator[TensorEntry]:
    """What the file will hold, in the order of the origin, else of the model."""
    entries = {entry.name: entry for entry in _of_model(model, row, origin)}
    stated = _factors(model, origin)
    if stated is not None:
        entries[_FACTORS] = stated
    order = [name for name in origin.tensors if name in entries] if origin is not None else []
    yield from (entries[name] for name in dict.fromkeys((*order, *entries)))


def _of_model(model: Any, row: Architecture, origin: GGUFModel | None) -> Iterator[TensorEntry]:
    state, _ = saved_tensors(model)
    held = {name: value for name, value in state.items() if not _is_tied(model, name, state)}
    table = key_map(model.config)
    for conversion in table.reversed().plan(held):
        (source,), (name,) = conversion.sources, conversion.targets
        if not _is_known(name, row):
            raise SaveError(
                f"`{source}` has no place in a GGUF file of `{row.name}`: save the model as safetensors.", name=source
            )
        module = model.get_submodule(source.rpartition(".")[0])
        if isinstance(module, GGUFLinear | GGUFEmbedding) and source.endswith(".weight"):
            columns = module.in_features if isinstance(module, GGUFLinear) else module.embedding_dim
            kind = kind_of(module.packing)
            shape: tuple[int, ...] = (len(module.weight), columns)
        else:
            tensor = _value(held[source])
            kind, shape = _float_kind(source, tensor), tuple(tensor.shape)
        stored = _stored(origin, name, kind, partial(_value, held[source]), table)
        make = stored.raw if stored is not None else partial(_converted, conversion.convert, held[source], kind)
        yield TensorEntry(name, shape, kind, make)


def _is_tied(model: Any, name: str, state: Mapping[str, Lazy]) -> bool:
    """Whether it is the source of its tie; somebody may have put another tensor there."""
    source = model.tied_weights.get(name)
    return source in state and model.get_parameter(name) is model.get_parameter(source)


def _value(held: Lazy) -> Tensor:
    return held if isinstance(held, Tensor) else held()


def _converted(convert: Callable[[list[Tensor]], list[Tensor]], held: Lazy, kind: BlockType) -> Tensor:
    tensor = _value(held).detach()
    if tensor.is_meta:
        raise SaveError("Some weights have no data here (they are on `meta` or offloaded): load the model without offload.")
    (made,) = convert([tensor if kind.dtype is None else tensor.to(kind.dtype)])
    return made


def _float_kind(name: str, tensor: Tensor) -> BlockType:
    # llama.cpp computes with norms and biases in float32 only
    dtype = torch.float32 if tensor.dim() < 2 else tensor.dtype
    if dtype not in _FLOATS:
        raise SaveError(f"`{name}` is {tensor.dtype}, which GGUF cannot hold: `model.float()` first.", name=name)
    return _FLOATS[dtype]


def _stored(origin: GGUFModel | None, name: str, kind: BlockType, value: Callable[[], Tensor], table: Any) -> TensorInfo | None:
    """The origin's own tensor, where it is of this type and the model's is what was read of it: its bytes are kept then.

    A map may round (a gain is stored with 1 added), and a load in half precision does: the way back would find other bits.
    """
    info = origin.tensors.get(name) if origin is not None else None
    if info is None or info.kind is not kind or kind.dtype is None:
        return None
    (read,) = table.convert({name: info.raw().view(kind.dtype).view(info.shape)}).values()
    held = value()
    return info if held.shape == read.shape and torch.equal(held.cpu(), read.to(held.dtype)) else None


def _is_known(name: str, row: Architecture) -> bool:
    stem = name.rpartition(".")[0]
    return ".".join("{}" if part.isdigit() else part for part in stem.split(".")) in row.tensors


def _factors(model: Any, origin: GGUFModel | None) -> TensorEntry | None:
    factors = frequency_factors(model.config)
    if factors is None:
        return None
    kind = _FLOATS[torch.float32]
    info = origin.tensors.get(_FACTORS) if origin is not None else None
    if info is not None and info.kind is kind and torch.allclose(info.raw().view(torch.float32), factors, rtol=1e-4):
        return TensorEntry(_FACTORS, info.shape, kind, info.raw)
    return TensorEntry(_FACTORS, tuple(factors.shape), kind, lambda: factors)


# -- metadata ----------------------------------------------------------------------------------------------------------


def _metadata(
    model: Any, row: Architecture, origin: GGUFModel | None, tensors: list[TensorEntry], tokenizer: Any
) -> dict[str, bytes]:
    pairs: dict[str, bytes] = {}
    if origin is not None:
        kept = [key for key in origin.metadata if not key.startswith("split.")]
        if differences(model.config, origin):
            kept = [key for key in kept if not key.startswith(f"{row.name}.")]
        if tokenizer is not None and not is_the_files(tokenizer, origin.metadata):
            kept = [key for key in kept if not key.startswith("tokenizer.")]
        pairs = {key: origin.metadata.encoded(key) for key in kept}
    if "general.architecture" not in pairs:
        name = Path(str(model.config.name_or_path or row.name)).name
        pairs |= {"general.architecture": string(row.name), "general.type": string("model"), "general.name": string(name)}
    if not any(key.startswith(f"{row.name}.") for key in pairs):
        pairs |= describe(model.config, row)
    if tokenizer is not None and "tokenizer.ggml.tokens" not in pairs:
        pairs |= describe_tokenizer(tokenizer, model.config.vocab_size)
    return pairs | _types(tensors, origin) | _ids(model.config, origin, pairs)


def _types(tensors: list[TensorEntry], origin: GGUFModel | None) -> dict[str, bytes]:
    """What the metadata says of the types, where the origin does not say it already."""
    kinds = {entry.name: entry.kind for entry in tensors}
    if origin is not None and kinds == {name: info.kind for name, info in origin.tensors.items()}:
        return {}
    sizes: Counter[str] = Counter()
    for entry in tensors:
        sizes[entry.kind.name] += entry.nbytes if len(entry.shape) > 1 else 0
    most = max(sizes, key=lambda name: sizes[name], default="F32")
    packed = any(kind.dtype is None for kind in kinds.values())
    version = {"general.quantization_version": uint32(_QUANTIZATION_VERSION)} if packed else {}
    return {"general.file_type": uint32(_FILE_TYPES[most]), **version}


def _ids(config: Any, origin: GGUFModel | None, pairs: Mapping[str, bytes]) -> dict[str, bytes]:
    """Ids of the configuration that the metadata lacks, or that were changed since the origin was read."""
    found = {}
    for key, index in token_ids(config).items():
        there = origin.metadata.get(key) if origin is not None and key in pairs else None
        if key not in pairs or (there is not None and there != index):
            found[key] = uint32(index)
    return found


def _check(model: Any, written: Path, target: Path) -> None:
    """Read what was written as a stranger would: it must be sound, and give this configuration."""
    try:
        wrong = differences(model.config, GGUFModel.of([written]))
    except CorruptFileError as error:
        raise SaveError(f"`{target}` was not written: GGUF cannot hold this model ({error}).", path=str(target)) from error
    if wrong:
        said = ", ".join(f"`{name}={getattr(model.config, name)!r}`" for name in wrong)
        raise SaveError(
            f"`{target}` was not written: a GGUF file cannot say {said} of a `{model.config.model_type}`. Save it as safetensors.",
            path=str(target),
        )
