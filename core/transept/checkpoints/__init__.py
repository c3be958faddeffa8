"""Checkpoints: formats, names, the stream from file to model, and writing."""

from .key_map import Concat, Conversion, Drop, KeyMap, Permute, Rename, Split, Stack, Transpose
from .meta import on_meta
from .placement import Placement
from .reader import CheckpointReader, TensorRef
from .safetensors_format import open_safetensors
from .stream import LoadReport, load_checkpoint
from .write import save_tensors

__all__ = [
    "CheckpointReader",
    "Concat",
    "Conversion",
    "Drop",
    "KeyMap",
    "LoadReport",
    "Permute",
    "Placement",
    "Rename",
    "Split",
    "Stack",
    "TensorRef",
    "Transpose",
    "load_checkpoint",
    "on_meta",
    "open_safetensors",
    "save_tensors",
]
