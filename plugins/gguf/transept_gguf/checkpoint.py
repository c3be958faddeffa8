"""GGUF as a checkpoint format: tensors by name, unpacked when they are read."""

from __future__ import annotations

import mmap as memory_map
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch

from transept.files import Location

from .blocks import BlockType, dequantize
from .files import GGUFModel
from .quantization import GgufConfig, GgufQuantizer, compact
from .reader import Metadata, TensorInfo

__all__ = ["GGUFReader", "GGUFTensor", "PackedTensor", "keep_blocks", "open_gguf"]


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """One tensor of a file (a `TensorRef`)."""

    info: TensorInfo

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.info.shape

    @property
    def dtype(self) -> torch.dtype | None:
        """None for packed blocks."""
        return self.info.kind.dtype

    @property
    def kind(self) -> str:
        return self.info.kind.name

    @property
    def block_type(self) -> BlockType:
        """How `packed` is to be understood."""
        return self.info.kind

    @property
    def nbytes(self) -> int:
        return self.info.nbytes

    def read(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The values, in the asked dtype; None: as stored, a view of the map; float32 for packed blocks."""
        values = dequantize(self.info.raw(), self.info.kind, self.info.shape, dtype)
        if self.dtype is None:
            self.release()  # unpacked: the blocks are not needed in memory any more
        return values

    def packed(self) -> torch.Tensor:
        """The blocks as they are in the file: uint8 of shape (…, bytes of a row), a view of the map."""
        *rows, row = self.info.shape or (1,)
        return self.info.raw().view(*rows, self.info.kind.row_bytes(row))

    def release(self) -> None:
        """Give the mapped pages that lie wholly within the tensor back to the system; they hold what the file holds."""
        page, data = memory_map.PAGESIZE, self.info.source.data
        first, last = -(-self.info.start // page) * page, (self.info.start + self.info.nbytes) // page * page
        if isinstance(data, memory_map.mmap) and last > first and hasattr(memory_map, "MADV_DONTNEED"):
            data.madvise(memory_map.MADV_DONTNEED, first, last - first)


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """One tensor of a file, read as it is packed (a `TensorRef`): (rows, bytes of a row), uint8."""

    tensor: GGUFTensor

    @property
    def name(self) -> str:
        return self.tensor.name

    @property
    def shape(self) -> tuple[int, ...]:
        *rows, row = self.tensor.shape
        return (*rows, self.tensor.block_type.row_bytes(row))

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8

    @property
    def kind(self) -> str:
        return self.tensor.kind

    @property
    def nbytes(self) -> int:
        return self.tensor.nbytes

    def read(self) -> torch.Tensor:
        """The blocks: a view of the map."""
        return self.tensor.packed()

    def release(self) -> None:
        self.tensor.release()


class GGUFReader:
    """A `CheckpointReader` over one GGUF file, or all parts of a split one."""

    format = "gguf"

    def __init__(self, model: GGUFModel) -> None:
        self.gguf_metadata: Metadata = model.metadata
        """The first file's key-value pairs, with their own types."""
        self.files: tuple[str, ...] = tuple(str(path) for path in model.paths)
        self.tensors: dict[str, GGUFTensor | PackedTensor] = {name: GGUFTensor(info) for name, info in model.tensors.items()}
        plain = (key for key in model.metadata if model.metadata.length(key) is None)
        self.metadata: dict[str, str] = {key: str(model.metadata[key]) for key in plain}

    def keep_packed(self, names: Iterable[str]) -> None:
        """Give these tensors as they are packed from now on."""
        for name in names:
            tensor = self.tensors[name]
            self.tensors[name] = PackedTensor(tensor) if isinstance(tensor, GGUFTensor) else tensor

    def close(self) -> None:
        """Let go of the file. Tensors that view the map keep it alive."""
        self.tensors = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def open_gguf(location: Location, *, mmap: bool = True) -> GGUFReader:
    """Open the GGUF model at a location: the file that was named, or the only model (perhaps in parts) in the folder.

    Raises:
        CheckpointNotFoundError: there is none, or a part is absent.
        CheckpointError: there are several, or the file has tensors of a type that is not read.
        CorruptFileError: a file is damaged.
    """
    return GGUFReader(GGUFModel(location, map_file=mmap))


def keep_blocks(reader: GGUFReader, model: Any, names: Mapping[str, str]) -> list[GgufQuantizer]:
    """The rewrite that leaves matrices in the file's blocks, where the model has a linear layer or an embedding for them.

    The reader then gives those packed, and the configuration says which type each module has. Whatever else the file packs is
    unpacked as it is read.

    Args:
        model: on `meta`.
        names: from the file's tensors to the model's, for those that become one alone with whole rows.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    fitting = [path for path, module in modules.items() if GgufQuantizer.fits(module)]
    kinds: dict[str, str | None] = dict.fromkeys(fitting)
    source_of: dict[str, str] = {}
    for name, tensor in reader.tensors.items():
        path, _, leaf = names.get(name, "").rpartition(".")
        if isinstance(tensor, GGUFTensor) and tensor.dtype is None and leaf == "weight" and path in kinds:
            kinds[path], source_of[path] = tensor.kind, name
    for target, source in model.tied_weights.items():
        here, there = target.rpartition(".")[0], source.rpartition(".")[0]
        if here in kinds and there in kinds:
            kinds[here] = kinds[here] or kinds[there]
    quantizer = GgufQuantizer(GgufConfig(types=compact(kinds)))
    quantizer.prepare(model)
    kept = [path for path in fitting if kinds[path] is not None and quantizer.takes(path)]
    if not kept:
        return []
    reader.keep_packed(source_of[path] for path in kept if path in source_of)
    model.config.quantization_config = quantizer.config
    return [quantizer]
